/** The memory that all threads of the process share: endpoints, limits, the connection count, heartbeats. */

import { randomBytes } from "node:crypto";
import type { GateSpec, LimiterSpec, SharedGate, SharedLimiter } from "../pipeline/plugin.ts";
import { EndpointTable, endpointTableBytes } from "./shared-endpoints.ts";
import { GateTable, gateTableBytes, TableGate } from "./shared-gates.ts";
import { GenerationTable, generationsBytes } from "./shared-generations.ts";
import { LimitTable, limitTableBytes, TableLimiter } from "./shared-limits.ts";

export interface SharedOptions {
  /** Endpoints of all services together that threads can learn about from each other. Default 8192. */
  readonly endpoints?: number;
  /** Counters of rate limits kept at once, rounded up to a multiple of 32. Default 65536 (6 MiB when all are in use). */
  readonly limits?: number;
  /** Keys of concurrency limits with something running, rounded up to a multiple of 16. Default 4096. */
  readonly gates?: number;
  /** Threads: the main thread is 0, workers count from 1. Default 256. */
  readonly threads?: number;
}

/** Structured-cloneable: goes to workers as `workerData`. */
export interface SharedHandles {
  readonly endpoints: SharedArrayBuffer;
  readonly endpointRows: number;
  readonly limits: SharedArrayBuffer;
  readonly limitSets: number;
  readonly gates: SharedArrayBuffer;
  readonly gateSets: number;
  readonly generations: SharedArrayBuffer;
  readonly process: SharedArrayBuffer;
  readonly threads: number;
  readonly seed: readonly [number, number, number, number];
}

const TOTAL = 0;
const PROCESS_HEADER = 16;

/** One per thread, over the same memory. */
export class SharedState {
  /** To open the same state in another thread. */
  readonly handles: SharedHandles;
  readonly endpoints: EndpointTable;
  readonly limits: LimitTable;
  /** Of what caches keep. */
  readonly generations: GenerationTable;
  private readonly gates: GateTable;
  /** Add to this thread's `performance.now()` for the clock that all threads agree on. */
  readonly offsetMs: number;
  private readonly counts: Int32Array;
  private readonly beats: Float64Array;
  private readonly thread: number;

  private constructor(handles: SharedHandles, thread: number, offsetMs: number) {
    this.handles = handles;
    this.thread = Math.min(thread, handles.threads - 1);
    this.offsetMs = offsetMs;
    const [a, b, c, d] = handles.seed;
    this.endpoints = new EndpointTable(handles.endpoints, handles.endpointRows, [a, b]);
    this.limits = new LimitTable(handles.limits, handles.limitSets, [c, d]);
    this.gates = new GateTable(
      handles.gates,
      { sets: handles.gateSets, threads: handles.threads, thread: this.thread },
      [d, a],
    );
    this.generations = new GenerationTable(handles.generations, [b, c]);
    this.counts = new Int32Array(handles.process, 0, PROCESS_HEADER + handles.threads);
    this.beats = new Float64Array(
      handles.process,
      processFloatsAt(handles.threads),
      handles.threads,
    );
  }

  /** In the main thread, once. */
  static create(options: SharedOptions = {}): SharedState {
    const endpointRows = options.endpoints ?? 8192;
    const limitSets = Math.ceil((options.limits ?? 65_536) / 32);
    const gateSets = Math.ceil((options.gates ?? 4096) / 16);
    const threads = options.threads ?? 256;
    const random = randomBytes(16);
    const seed = [0, 4, 8, 12].map((at) => random.readInt32LE(at)) as [
      number,
      number,
      number,
      number,
    ];
    const handles: SharedHandles = {
      endpoints: new SharedArrayBuffer(endpointTableBytes(endpointRows)),
      endpointRows,
      limits: new SharedArrayBuffer(limitTableBytes(limitSets)),
      limitSets,
      gates: new SharedArrayBuffer(gateTableBytes(gateSets, threads)),
      gateSets,
      generations: new SharedArrayBuffer(generationsBytes),
      process: new SharedArrayBuffer(processFloatsAt(threads) + threads * 8),
      threads,
      seed,
    };
    return SharedState.open(handles, { thread: 0 });
  }

  /**
   * In each thread.
   * @param options `thread`: 0 for the main thread, workers from 1, different from those of all living threads;
   *   `offsetMs`: for tests with a clock of their own
   */
  static open(
    handles: SharedHandles,
    options: { readonly thread: number; readonly offsetMs?: number },
  ): SharedState {
    // performance.now() starts at 0 in every thread; hrtime is the process's monotonic clock
    const offsetMs = options.offsetMs ?? Number(process.hrtime.bigint()) / 1e6 - performance.now();
    return new SharedState(handles, options.thread, offsetMs);
  }

  /** Monotonic milliseconds, the same in every thread to within microseconds. */
  now(): number {
    return performance.now() + this.offsetMs;
  }

  /**
   * Counting that is exact over all threads. Throws a RangeError on a limit, window or burst that is not above 0.
   * @param now this thread's monotonic clock (default `performance.now`)
   */
  limiter(spec: LimiterSpec, now: () => number = () => performance.now()): SharedLimiter {
    return new TableLimiter(this.limits, spec, () => now() + this.offsetMs);
  }

  /** Counting of what runs at once, exact over all threads. */
  gate(spec: GateSpec): SharedGate {
    return new TableGate(this.gates, spec);
  }

  /** A connection was accepted; false: there are `max` of them in the process already, and this one was not counted. */
  enterConnection(max: number): boolean {
    if (Atomics.add(this.counts, TOTAL, 1) >= max) {
      Atomics.sub(this.counts, TOTAL, 1);
      return false;
    }
    Atomics.add(this.counts, PROCESS_HEADER + this.thread, 1);
    return true;
  }

  /** A counted connection has closed. */
  leaveConnection(): void {
    Atomics.sub(this.counts, TOTAL, 1);
    Atomics.sub(this.counts, PROCESS_HEADER + this.thread, 1);
  }

  /** Connections accepted and not closed, over all threads. */
  get connections(): number {
    return Atomics.load(this.counts, TOTAL);
  }

  /** This thread's event loop turns. */
  beat(): void {
    this.beats[this.thread] = this.now();
  }

  /** When a thread last turned, by {@link now}; 0: never. */
  lastBeatMs(thread: number): number {
    return this.beats[thread] ?? 0;
  }

  /** A thread has died: its connections are closed, its permits free, its beat over. Before its number is used again. */
  forgetThread(thread: number): void {
    const left = Atomics.exchange(this.counts, PROCESS_HEADER + thread, 0);
    Atomics.sub(this.counts, TOTAL, left);
    this.beats[thread] = 0;
    this.gates.forgetThread(thread);
  }
}

function processFloatsAt(threads: number): number {
  return Math.ceil(((PROCESS_HEADER + threads) * 4) / 8) * 8;
}
