/** What a worker has to say to the main thread, a few posts a second at most. */

import type { MessagePort } from "node:worker_threads";
import type { LogLevel, RefusedCaller } from "../control/admin/source.ts";
import type { Log, Refusal } from "../proxy/pipeline/plugin.ts";
import type { SeriesAnnouncement } from "../proxy/observe/metrics.ts";
import type { LogRecord } from "./log.ts";
import type { FromWorker } from "./protocol.ts";

/** More lines than this in one turn are a flood: the rest is counted, not sent. */
const recordLimit = 1000;

/** Refused callers kept until the next post, and how long that is. Milliseconds. */
const refusedLimit = 200;
const refusedPauseMs = 250;

const rank: Readonly<Record<LogLevel, number>> = {
  trace: 0,
  debug: 1,
  info: 2,
  warn: 3,
  error: 4,
  fatal: 5,
  silent: 6,
};

export class Outbox implements Log {
  level: LogLevel;
  private readonly port: MessagePort;
  private records: LogRecord[] = [];
  private unsaid = 0;
  private series: SeriesAnnouncement[] = [];
  private readonly callers = new Map<string, RefusedCaller>();
  private scheduled = false;

  constructor(port: MessagePort, level: LogLevel) {
    this.port = port;
    this.level = level;
  }

  post(message: FromWorker): void {
    this.flush();
    this.port.postMessage(message);
  }

  /** Told before the first count arrives: the page is read at any time. */
  announce(series: SeriesAnnouncement): void {
    this.series.push(series);
    this.schedule();
  }

  /** Told a few times a second: under attack there are many, and most are the same. */
  refused(route: string, { policy, caller, forMs }: Refusal): void {
    const key = `${route}\n${policy}\n${caller}`;
    const times = (this.callers.get(key)?.times ?? 0) + 1;
    if (times === 1 && this.callers.size >= refusedLimit) return;
    const untilMs = Date.now() + Math.ceil(forMs);
    if (this.callers.size === 0) setTimeout(() => this.tellRefused(), refusedPauseMs).unref();
    this.callers.set(key, { route, policy, caller, untilMs, times });
  }

  debug(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.say("debug", message, fields);
  }
  info(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.say("info", message, fields);
  }
  warn(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.say("warn", message, fields);
  }
  error(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.say("error", message, fields);
  }

  flush(): void {
    this.scheduled = false;
    if (this.series.length > 0) {
      this.port.postMessage({ type: "series", series: this.series } satisfies FromWorker);
      this.series = [];
    }
    if (this.records.length === 0) return;
    if (this.unsaid > 0) {
      const message = `${this.unsaid} more log lines in the same moment were not written`;
      this.records.push({ level: "warn", message, fields: {} });
    }
    this.unsaid = 0;
    this.port.postMessage({ type: "log", records: this.records } satisfies FromWorker);
    this.records = [];
  }

  private tellRefused(): void {
    const callers = [...this.callers.values()];
    this.callers.clear();
    this.port.postMessage({ type: "refused", callers } satisfies FromWorker);
  }

  private say(
    level: LogRecord["level"],
    message: string,
    fields: Readonly<Record<string, unknown>>,
  ): void {
    if (rank[level] < rank[this.level]) return;
    if (this.records.length >= recordLimit) {
      this.unsaid++;
      return;
    }
    this.records.push({ level, message, fields: plain(fields) });
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => this.flush());
  }
}

/** Only what can be posted: a plugin may log functions and live objects. */
function plain(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    if (value === null || typeof value === "string" || typeof value === "number") {
      result[key] = value;
    } else if (typeof value === "boolean") result[key] = value;
    else if (value instanceof Error) result[key] = value.stack ?? value.message;
    else result[key] = asText(value);
  }
  return result;
}

function asText(value: unknown): unknown {
  try {
    const text = JSON.stringify(value);
    return text === undefined ? String(value) : JSON.parse(text);
  } catch {
    return String(value);
  }
}
