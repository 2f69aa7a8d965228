/** Durations, sizes and rates as plugins write and read them: `5s`, `64KiB`, `100/min`. */

/** Milliseconds. */
export const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
/** Bytes. */
export const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1000,
  MB: 1_000_000,
  GB: 1_000_000_000,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};
/** Milliseconds of the window. */
export const rateUnits: Readonly<Record<string, number>> = {
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  day: 86_400_000,
};

/** Milliseconds of a text such as `250ms`, `5s`, `1m`, `24h`, `1h30m`; a number is milliseconds; undefined: not a duration. */
export function toDurationMs(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string" || !/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(value)) return undefined;
  let totalMs = 0;
  for (const [, amount, unit] of value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    totalMs += Number(amount) * durationUnits[unit!]!;
  }
  return totalMs;
}

/** Bytes of a text such as `64KiB`, `1MiB`, `10MB`; a whole number is bytes; undefined: not a size. */
export function toBytes(value: unknown): number | undefined {
  if (typeof value === "number")
    return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string") return undefined;
  const parts = /^(\d+(?:\.\d+)?)\s*([KMG]i?B|B)?$/.exec(value);
  if (parts === null) return undefined;
  return Math.floor(Number(parts[1]) * (parts[2] === undefined ? 1 : sizeUnits[parts[2]]!));
}

/** `limit` and window of a text such as `100/min`, `5/s`, `10000/day`, `20/10s`; undefined: not a rate. */
export function toRate(value: unknown): { limit: number; windowMs: number } | undefined {
  if (typeof value !== "string") return undefined;
  const parts = /^(\d+)\s*\/\s*(\d+)?\s*([a-z]+)$/.exec(value);
  if (parts === null) return undefined;
  const unitMs = rateUnits[parts[3]!];
  const limit = Number(parts[1]);
  const count = parts[2] === undefined ? 1 : Number(parts[2]);
  if (unitMs === undefined || limit < 1 || count < 1) return undefined;
  return { limit, windowMs: unitMs * count };
}
