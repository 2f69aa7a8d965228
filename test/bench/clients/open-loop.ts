/**
 * An open-loop client: requests are due at fixed times whatever the answers do, and latency counts from the time that a
 * request was due, not from when a connection was free for it (no coordinated omission).
 */

import net from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { AnswerReader } from "./answer-reader.ts";
import { percentile } from "./run-client.ts";

/** One JSON argument. */
export interface OpenLoopOptions {
  readonly port: number;
  readonly host: string;
  /** Requests per second. */
  readonly rate: number;
  readonly seconds: number;
  readonly connections: number;
}

/** Printed as one line of JSON; latencies in milliseconds. */
export interface OpenLoopResult {
  readonly requests: number;
  readonly errors: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

const options = JSON.parse(process.argv[2]!) as OpenLoopOptions;
const request = `GET / HTTP/1.1\r\nHost: ${options.host}\r\n\r\n`;
const total = Math.floor(options.rate * options.seconds);
const gapMs = 1000 / options.rate;

const free: Line[] = [];
const waiting: number[] = [];
const latencies: number[] = [];
let errors = 0;

/** One keep-alive connection with at most one request on it. */
class Line {
  private dueMs = 0;
  private readonly reader = new AnswerReader();
  private readonly socket: net.Socket;

  constructor(onReady: () => void) {
    this.socket = net.connect({ port: options.port, host: "127.0.0.1", noDelay: true }, onReady);
    this.socket.on("data", (chunk: Buffer) => this.received(chunk));
    this.socket.on("error", () => this.lost());
    this.socket.on("end", () => this.lost());
  }

  send(dueMs: number): void {
    this.dueMs = dueMs;
    this.socket.write(request, "latin1");
  }

  close(): void {
    this.socket.destroy();
  }

  private received(chunk: Buffer): void {
    const status = this.reader.feed(chunk);
    if (status === 0) return;
    if (status !== 200) errors++;
    latencies.push(performance.now() - this.dueMs);
    this.dueMs = 0;
    const next = waiting.shift();
    if (next === undefined) free.push(this);
    else this.send(next);
  }

  /** The connection is gone; with a request on it, that one has failed. */
  private lost(): void {
    const at = free.indexOf(this);
    if (at !== -1) free.splice(at, 1);
    else errors++;
    const line = new Line(() => free.push(line));
  }
}

const lines: Line[] = [];
while (lines.length < options.connections) {
  await new Promise<void>((resolve) => lines.push(new Line(resolve)));
}
free.push(...lines);

/** For sleeps finer than the millisecond of a timer. */
const never = new Int32Array(new SharedArrayBuffer(4));
const startMs = performance.now() + 20;
let sent = 0;
while (sent < total) {
  const nowMs = performance.now();
  while (sent < total && startMs + sent * gapMs <= nowMs) {
    const dueMs = startMs + sent++ * gapMs;
    const line = free.shift();
    if (line === undefined) waiting.push(dueMs);
    else line.send(dueMs);
  }
  const restMs = startMs + sent * gapMs - performance.now();
  if (restMs > 0.03) Atomics.wait(never, 0, 0, Math.min(restMs, 0.1));
  await turn();
}
const endMs = performance.now() + 5000;
while (latencies.length + errors < total && performance.now() < endMs) await turn();
for (const line of lines) line.close();

const sorted = latencies.sort((a, b) => a - b);
const result: OpenLoopResult = {
  requests: sent,
  errors: errors + Math.max(0, total - latencies.length - errors),
  p50: percentile(sorted, 0.5),
  p99: percentile(sorted, 0.99),
  p999: percentile(sorted, 0.999),
  max: sorted.at(-1) ?? Number.NaN,
};
process.stdout.write(JSON.stringify(result), () => process.exit(0));
