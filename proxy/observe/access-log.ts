/** Builds access lines and hands them on in batches: one write for many exchanges. */

import { slot } from "../pipeline/plugin.ts";
import type { Ctx, DoneInfo, RequestHead } from "../pipeline/plugin.ts";

export type LogFormat = "json" | "text";

/** Set by a plugin that has written the line of this exchange itself. */
export const Logged = slot<true>("access-log.line");

/** Lines wait this long for others, in milliseconds, or until a batch is full. */
const batchMs = 50;
const batchChars = 16_384;

export interface AccessLogOptions {
  readonly format: LogFormat;
  /** Null: every exchange. */
  readonly when:
    | ((
        req: RequestHead,
        ctx: Ctx,
        end: { status: number; code: string; durationMs: number },
      ) => boolean)
    | null;
  /** Share of the exchanges, 0 to 1. */
  readonly sample: number;
  /** Request header names or `query`, added to each line. */
  readonly fields: readonly string[];
}

/** Where lines come from besides the exchange. */
export interface AccessLogSource {
  /** Takes whole lines, each ending in a newline. Must not wait. */
  write(text: string): void;
  /** Milliseconds since 1970. */
  wallNow(): number;
  /** 0 <= x < 1 */
  random(): number;
}

/** The access log of one worker. */
export class AccessLog {
  private readonly options: AccessLogOptions | null;
  private readonly source: AccessLogSource;
  private pending = "";
  private timer: NodeJS.Timeout | null = null;

  /** @param options null: off, but what weft itself answers with 5xx is logged */
  constructor(options: AccessLogOptions | null, source: AccessLogSource) {
    this.options = options;
    this.source = source;
  }

  /** Call once per exchange, at its end. */
  log(ctx: Ctx, info: DoneInfo): void {
    const { options } = this;
    if (!isWanted(options, ctx, info, this.source.random)) return;
    this.pending += formatLine(options ?? quiet, ctx, info, this.source.wallNow());
    if (this.pending.length >= batchChars) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), batchMs);
  }

  /** Hands on what waits. */
  flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.pending === "") return;
    const text = this.pending;
    this.pending = "";
    this.source.write(text);
  }
}

const quiet: AccessLogOptions = { format: "json", when: null, sample: 1, fields: [] };

/**
 * Makes the log of a configuration; the expression library is loaded only for a `when`.
 * @throws ExpressionError when `when` cannot be compiled
 */
export async function createAccessLog(
  config: { format: LogFormat; when: string | null; sample: number } | null,
  source: AccessLogSource,
): Promise<AccessLog> {
  if (config === null) return new AccessLog(null, source);
  const { format, sample } = config;
  const isAlways = config.when === null || config.when.trim() === "true";
  const when = isAlways
    ? null
    : (await import("../pipeline/expression.ts")).compileEndWhen(config.when!);
  return new AccessLog({ format, sample, when, fields: [] }, source);
}

/** True when this exchange gets a line: weft's own 5xx always do. */
export function isWanted(
  options: AccessLogOptions | null,
  ctx: Ctx,
  info: DoneInfo,
  random: () => number,
): boolean {
  if (info.code !== null && info.status >= 500) return ctx.get(Logged) === undefined;
  if (options === null) return false;
  if (options.sample < 1 && random() >= options.sample) return false;
  if (options.when === null) return true;
  return options.when(ctx.req, ctx, {
    status: info.status,
    code: info.code ?? "",
    durationMs: info.durationMs,
  });
}

/** One line with its newline. */
export function formatLine(
  options: AccessLogOptions,
  ctx: Ctx,
  info: DoneInfo,
  wallMs: number,
): string {
  return options.format === "json"
    ? jsonLine(options, ctx, info, wallMs)
    : textLine(options, ctx, info, wallMs);
}

function jsonLine(options: AccessLogOptions, ctx: Ctx, info: DoneInfo, wallMs: number): string {
  const { req } = ctx;
  let line =
    `{"time":"${new Date(wallMs).toISOString()}","id":${quote(ctx.id)},"mode":"${ctx.mode}"` +
    `,"client":${quote(ctx.client.address)},"method":${quote(req.method)},"host":${quote(req.host)},"path":${quote(req.path)}` +
    `,"status":${info.status},"code":${info.code === null ? "null" : `"${info.code}"`}` +
    `,"durationMs":${round(info.durationMs)},"requestBytes":${info.requestBytes},"responseBytes":${info.responseBytes}` +
    `,"route":${quote(ctx.routeName)},"service":${quoteOrNull(ctx.serviceName)},"endpoint":${quoteOrNull(info.endpoint)}` +
    `,"attempts":${info.attempts},"end":"${info.end}"`;
  if (ctx.peer !== null) line += `,"peer":${quote(ctx.peer.id)}`;
  if (ctx.consumer !== null) line += `,"consumer":${quote(ctx.consumer.name)}`;
  const traceId = traceOf(req);
  if (traceId !== null) line += `,"trace":"${traceId}"`;
  if (info.detail) line += `,"detail":${quote(info.detail)}`;
  for (const name of options.fields) line += `,${quote(name)}:${quoteOrNull(fieldOf(req, name))}`;
  return `${line}}\n`;
}

/** Common to read, and one line whatever a caller sends: control characters are escaped. */
function textLine(options: AccessLogOptions, ctx: Ctx, info: DoneInfo, wallMs: number): string {
  const { req } = ctx;
  let line =
    `${new Date(wallMs).toISOString()} ${plain(ctx.client.address)} ${quote(`${req.method} ${req.host}${req.path}`)} ${info.status}` +
    ` ${info.code ?? "-"} ${round(info.durationMs)}ms ${info.requestBytes}/${info.responseBytes}B` +
    ` route=${plain(ctx.routeName)} service=${plain(ctx.serviceName ?? "-")} endpoint=${plain(info.endpoint ?? "-")}` +
    ` attempts=${info.attempts} end=${info.end} id=${plain(ctx.id)}`;
  if (ctx.peer !== null) line += ` peer=${plain(ctx.peer.id)}`;
  if (ctx.consumer !== null) line += ` consumer=${plain(ctx.consumer.name)}`;
  if (info.detail) line += ` detail=${quote(info.detail)}`;
  for (const name of options.fields) line += ` ${name}=${quote(fieldOf(req, name) ?? "-")}`;
  return `${line}\n`;
}

function fieldOf(req: RequestHead, name: string): string | null {
  return name === "query" ? req.query : (req.headers.get(name) ?? null);
}

/** W3C trace context: version-traceid-parentid-flags. */
function traceOf(req: RequestHead): string | null {
  const value = req.headers.get("traceparent");
  const parts = value === undefined ? null : /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(value);
  return parts === null ? null : parts[1]!;
}

function quoteOrNull(text: string | null): string {
  return text === null ? "null" : quote(text);
}

/** JSON.stringify only where a character needs it. */
function quote(text: string): string {
  return /^[ !#-[\]-~]*$/.test(text) ? `"${text}"` : JSON.stringify(text);
}

function plain(text: string): string {
  return /^[!-~]+$/.test(text) ? text : quote(text);
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
