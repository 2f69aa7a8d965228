/** The main thread's end of one worker: starts it, asks it, hears when it dies. */

import { Worker } from "node:worker_threads";
import type { Problem } from "../control/config.ts";
import type { FromWorker, ToWorker, WorkerStart } from "./protocol.ts";

/** What a worker says without being asked. */
export interface WorkerEvents {
  message(thread: WorkerThread, message: FromWorker): void;
  /** The thread has ended. `reason` in words; null when it was told to. */
  exit(thread: WorkerThread, reason: string | null): void;
}

/** How a start or a question ended. */
export type Outcome =
  | { readonly ok: true }
  | { readonly ok: false; readonly problems: readonly Problem[]; readonly died: string | null };

const fine: Outcome = { ok: true };

/** The entry stands beside this file, as `.ts` in a clone and as `.js` in the package. */
const entry = new URL(import.meta.url.endsWith(".ts") ? "worker.ts" : "worker.js", import.meta.url);

let started = 0;

export class WorkerThread {
  /** Never reused: metrics of dead workers are kept apart by it. */
  readonly id: string;
  readonly slot: number;
  /** Its number in shared memory. */
  readonly number: number;
  readonly startedMs = performance.now();
  /** Settles when it listens, cannot use its configuration, or dies. */
  readonly ready: Promise<Outcome>;
  /** Version of the snapshot it serves. */
  version: number;
  private readonly worker: Worker;
  private readonly events: WorkerEvents;
  private settleReady: (outcome: Outcome) => void = () => {};
  private waiting: {
    isAnswer(message: FromWorker): boolean;
    settle(outcome: Outcome): void;
  } | null = null;
  private whenExited: (() => void)[] = [];
  private stopping = false;
  private lastWords: string | null = null;
  isAlive = true;

  constructor(start: WorkerStart, events: WorkerEvents) {
    this.id = `${start.slot}.${started++}`;
    this.slot = start.slot;
    this.number = start.thread;
    this.version = start.version;
    this.events = events;
    this.ready = new Promise((resolve) => (this.settleReady = resolve));
    this.worker = new Worker(entry, {
      workerData: start,
      name: `weft-${this.id}`,
      // what a plugin prints goes to the log: never into the access log, never to a pipe that may block
      stdout: true,
      stderr: true,
      // listening descriptors come from the main thread and close here: Node would warn of each
      trackUnmanagedFds: false,
    });
    this.worker.stdout.on("data", (chunk: Buffer) => this.printed("info", chunk));
    this.worker.stderr.on("data", (chunk: Buffer) => this.printed("warn", chunk));
    this.worker.on("message", (message: FromWorker) => this.receive(message));
    this.worker.on("messageerror", (error) => (this.lastWords = error.message));
    this.worker.on("error", (error: unknown) => (this.lastWords = describe(error)));
    this.worker.on("exit", (code) => this.exited(code));
  }

  /** Builds the snapshot of a new configuration beside the one in effect. */
  prepare(message: Extract<ToWorker, { type: "prepare" }>): Promise<Outcome> {
    return this.ask(
      message,
      (answer) => answer.type === "prepared" && answer.version === message.version,
    );
  }

  /** Serves what was prepared. */
  async commit(message: Extract<ToWorker, { type: "commit" }>): Promise<Outcome> {
    const outcome = await this.ask(
      message,
      (answer) => answer.type === "committed" && answer.version === message.version,
    );
    if (outcome.ok) this.version = message.version;
    return outcome;
  }

  /** Resolves when its last exchange has ended, or it died; it cuts what is left shortly before `limitMs`. */
  async drain(limitMs: number): Promise<void> {
    await this.ask({ type: "drain", limitMs }, (answer) => answer.type === "drained");
  }

  tell(message: ToWorker): void {
    if (this.isAlive) this.worker.postMessage(message);
  }

  /** Ends the thread now; resolves when it has ended. */
  async stop(): Promise<void> {
    this.stopping = true;
    if (!this.isAlive) return;
    void this.worker.terminate();
    await new Promise<void>((resolve) => this.whenExited.push(resolve));
  }

  /** Ends the thread as if it had died of `reason`: it is replaced. */
  kill(reason: string): void {
    this.lastWords ??= reason;
    void this.worker.terminate();
  }

  private ask(message: ToWorker, isAnswer: (message: FromWorker) => boolean): Promise<Outcome> {
    if (!this.isAlive) return Promise.resolve(this.dead());
    return new Promise((resolve) => {
      this.waiting = { isAnswer, settle: resolve };
      this.worker.postMessage(message);
    });
  }

  private receive(message: FromWorker): void {
    // counters must be readable before anybody hears that the worker serves
    this.events.message(this, message);
    if (message.type === "ready") this.settleReady(fine);
    if (message.type === "failed") {
      this.stopping = true;
      this.settleReady({ ok: false, problems: message.problems, died: null });
    }
    if (this.waiting?.isAnswer(message) !== true) return;
    const { settle } = this.waiting;
    this.waiting = null;
    const problems = message.type === "prepared" ? message.problems : null;
    settle(problems === null ? fine : { ok: false, problems, died: null });
  }

  private printed(level: "info" | "warn", chunk: Buffer): void {
    const records = chunk
      .toString()
      .split("\n")
      .filter((line) => line !== "")
      .map((message) => ({ level, message, fields: { worker: this.slot, printed: true } }));
    this.events.message(this, { type: "log", records });
  }

  private exited(code: number): void {
    this.isAlive = false;
    this.lastWords ??= `it ended with exit code ${code}`;
    this.settleReady(this.dead());
    this.waiting?.settle(this.dead());
    this.waiting = null;
    this.events.exit(this, this.stopping ? null : this.lastWords);
    for (const resolve of this.whenExited.splice(0)) resolve();
  }

  private dead(): Outcome {
    return { ok: false, problems: [], died: this.lastWords ?? "it has ended" };
  }
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return `uncaught ${String(error)}`;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ERR_WORKER_OUT_OF_MEMORY") return "out of memory";
  return error.stack ?? error.message;
}
