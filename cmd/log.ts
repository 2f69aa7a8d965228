/** The process's log: what weft has to say goes to stderr, access lines to stdout; neither can stop traffic. */

import fs from "node:fs";
import { pino, type Logger } from "pino";
import { logLevels, type LogLevel } from "../control/admin/source.ts";
import type { Log } from "../proxy/pipeline/plugin.ts";
import { LineWriter } from "./line-writer.ts";

/** What workers post: one line of the application log. */
export interface LogRecord {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export { logLevels, type LogLevel };

export interface LogSinkOptions {
  readonly level: LogLevel;
  /** Descriptor of the application log. Default 2, stderr. */
  readonly appFd?: number;
  /** Descriptor of the access log. Default 1, stdout. */
  readonly accessFd?: number;
  /** Readable lines in place of JSON. Default: when the descriptor is a terminal. */
  readonly pretty?: boolean;
}

/** One per process, on the main thread. */
export class LogSink implements Log {
  private readonly appWriter: LineWriter;
  private readonly accessWriter: LineWriter;
  private readonly logger: Logger;

  constructor(options: LogSinkOptions) {
    const appFd = options.appFd ?? 2;
    this.appWriter = new LineWriter(appFd);
    this.accessWriter = new LineWriter(options.accessFd ?? 1);
    const pretty = options.pretty ?? isTerminal(appFd);
    this.logger = pino(
      {
        level: options.level,
        base: { pid: process.pid },
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
        redact: { paths: ["token", "*.token", "authorization", "*.authorization"] },
      },
      {
        write: (line: string) => this.appWriter.write(pretty ? readable(line) : line),
      },
    );
  }

  debug(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.logger.debug(fields, message);
  }
  info(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.logger.info(fields, message);
  }
  warn(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.logger.warn(fields, message);
  }
  error(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.logger.error(fields, message);
  }

  /** A line that a worker posted. */
  record(record: LogRecord): void {
    this[record.level](record.message, record.fields);
  }

  /** Whole access lines, as they are. */
  access(lines: string): void {
    this.accessWriter.write(lines);
  }

  get level(): LogLevel {
    return this.logger.level as LogLevel;
  }
  set level(level: LogLevel) {
    this.logger.level = level;
  }

  /** Lines lost to a blocked or broken reader, since the start. */
  get dropped(): { readonly app: number; readonly access: number } {
    return { app: this.appWriter.dropped, access: this.accessWriter.dropped };
  }

  /** True when a write hangs in the system: then `exit()` would wait for it, for ever perhaps. */
  get isBlocked(): boolean {
    return this.appWriter.isBlocked || this.accessWriter.isBlocked;
  }

  /** Resolves when all is written, or after `limitMs`. */
  async flush(limitMs: number): Promise<void> {
    await Promise.all([this.appWriter.flush(limitMs), this.accessWriter.flush(limitMs)]);
  }
}

/** A stranger's text must not steer the terminal. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (sign) => (sign === "\n" || sign === "\t" ? sign : "?"));
}

function isTerminal(fd: number): boolean {
  try {
    return (
      fs.fstatSync(fd).isCharacterDevice() &&
      (fd === 1 ? process.stdout : process.stderr).isTTY === true
    );
  } catch {
    return false;
  }
}

/** `12:30:01.123 WARN  message  key=value` */
function readable(line: string): string {
  const { level, time, msg, pid: _, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const pairs = Object.entries(fields).map(
    ([key, value]) =>
      ` ${key}=${typeof value === "string" && !/[\s"=]/.test(value) ? value : JSON.stringify(value)}`,
  );
  const gap = pairs.length === 0 ? "" : " ";
  const place = `${String(time).slice(11, 23)} ${String(level).toUpperCase().padEnd(5)}`;
  return `${printable(`${place} ${String(msg)}${gap}${pairs.join("")}`)}\n`;
}
