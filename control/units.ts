/** Durations, sizes and rates as people write them, to numbers and back. */

import type { Rate } from "./config.ts";
import { durationUnits, rateUnits, sizeUnits } from "../proxy/pipeline/units.ts";

/** Node's timers hold 31 bits of milliseconds; a longer one fires at once. 24 days is the largest whole day below. */
export const longestMs = 24 * 86_400_000;

/**
 * Milliseconds of `250ms`, `5s`, `1m`, `24h`, `1.5s` or `1m30s`; `0` needs no unit.
 * Null when it is not a duration. Fractions of a millisecond are rounded.
 */
export function parseDuration(text: string): number | null {
  if (text === "0") return 0;
  if (text.length > 32 || !/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(text)) return null;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    total += Number(amount) * (durationUnits[unit ?? ""] ?? Number.NaN);
  }
  return Number.isFinite(total) ? Math.round(total) : null;
}

/** Bytes of `512B`, `64KiB`, `1MiB`, `10MB` or a bare number of bytes. Null when it is not a size. */
export function parseSize(text: string): number | null {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)(B|KB|MB|GB|KiB|MiB|GiB)?$/.exec(text);
  if (match === null) return null;
  const bytes = Math.round(Number(match[1]) * (sizeUnits[match[2] ?? "B"] ?? Number.NaN));
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** `100/min`: 100 per 60 000 ms. Units are `s`, `min`, `h`, `day`. Null when it is not a rate, or 0. */
export function parseRate(text: string): Rate | null {
  const match = /^(\d{1,12})\/(s|min|h|day)$/.exec(text);
  if (match === null) return null;
  const limit = Number(match[1]);
  return limit === 0 ? null : { limit, windowMs: rateUnits[match[2] ?? ""] ?? Number.NaN };
}

/** The shortest exact form with one unit: 90 000 is `90s`, 60 000 is `1m`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  for (const unit of ["h", "m", "s"]) {
    const size = durationUnits[unit] ?? 1;
    if (ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}

/** 65 536 is `64KiB`, 1000 is `1000B`. */
export function formatSize(bytes: number): string {
  if (bytes === 0) return "0B";
  for (const unit of ["GiB", "MiB", "KiB"]) {
    const size = sizeUnits[unit] ?? 1;
    if (bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes}B`;
}

/** `100/min`; a window that no unit names is written in milliseconds: `5/250ms`. */
export function formatRate(rate: Rate): string {
  const unit = Object.keys(rateUnits).find((name) => rateUnits[name] === rate.windowMs);
  return `${rate.limit}/${unit ?? formatDuration(rate.windowMs)}`;
}

/** A likely correct spelling of something that is not a duration: `5 sec` is `5s`. Null: no idea. */
export function suggestDuration(text: string): string | null {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text);
  if (match === null) return null;
  const unit = (match[2] ?? "").toLowerCase();
  const known: Readonly<Record<string, string>> = {
    "": "s",
    sec: "s",
    secs: "s",
    second: "s",
    seconds: "s",
    min: "m",
    mins: "m",
    minute: "m",
    minutes: "m",
    hr: "h",
    hrs: "h",
    hour: "h",
    hours: "h",
    day: "d",
    days: "d",
    msec: "ms",
    millis: "ms",
    milliseconds: "ms",
    ms: "ms",
    s: "s",
    m: "m",
    h: "h",
    d: "d",
  };
  const name = known[unit];
  return name === undefined ? null : `${match[1]}${name}`;
}

/** A likely correct spelling of something that is not a size: `64k` is `64KiB`. Null: no idea. */
export function suggestSize(text: string): string | null {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmg]?)i?b?(?:ytes?)?\s*$/i.exec(text);
  if (match === null) return null;
  const prefix = (match[2] ?? "").toUpperCase();
  return `${match[1]}${prefix === "" ? "B" : `${prefix}iB`}`;
}

/** A likely correct spelling of something that is not a rate: `100 per minute` is `100/min`. Null: no idea. */
export function suggestRate(text: string): string | null {
  const match = /^\s*(\d+)\s*(?:\/|per|rp)\s*(?:1\s*)?([a-z]+)\s*$/i.exec(text);
  if (match === null) return null;
  const letter = (match[2] ?? "").toLowerCase();
  const unit = letter.startsWith("s")
    ? "s"
    : letter.startsWith("m")
      ? "min"
      : letter.startsWith("h")
        ? "h"
        : letter.startsWith("d")
          ? "day"
          : null;
  return unit === null ? null : `${match[1]}/${unit}`;
}
