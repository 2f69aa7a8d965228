/** The crew of worker threads: one per slot, all on one configuration, the dead replaced. */

import type { Config, Problem } from "../control/config.ts";
import type { Log } from "../proxy/pipeline/plugin.ts";
import type { PreparedPlan } from "./listen-plan.ts";
import type { FromWorker, ListenPoint, WorkerStart } from "./protocol.ts";
import type { ThreadNumbers } from "./thread-numbers.ts";
import { WorkerThread, type Outcome } from "./worker-thread.ts";

export interface WorkersOptions {
  readonly count: number;
  readonly log: Log;
  /** Everything but slot, version, configuration and points. */
  readonly start: () => Omit<WorkerStart, "slot" | "thread" | "version" | "config" | "points">;
  /** Numbers in shared memory. */
  readonly numbers: ThreadNumbers;
  /** Fresh descriptors for a worker of this slot. */
  readonly points: (slot: number) => readonly ListenPoint[];
  readonly onMessage: (thread: WorkerThread, message: FromWorker) => void;
  /** A worker has ended, for whatever reason. */
  readonly onGone: (thread: WorkerThread) => void;
  /** A dead one has been replaced. */
  readonly onRestart: () => void;
  /** 0 <= x < 1 */
  readonly random: () => number;
}

/** A worker that lived this long is replaced at once. */
const healthyMs = 10_000;
const backoffBaseMs = 100;
const backoffMaxMs = 10_000;

interface Applied {
  readonly version: number;
  readonly config: Config;
}

export class Workers {
  private readonly options: WorkersOptions;
  private readonly slots: (WorkerThread | null)[];
  private readonly deaths: number[];
  /** Who accepts for a slot whose worker is dead. */
  private readonly standIns: (WorkerThread | null)[];
  private readonly timers = new Set<NodeJS.Timeout>();
  private applied: Applied | null = null;
  /** Starts, reloads and restarts happen one after the other. */
  private turn: Promise<unknown> = Promise.resolve();
  private stopped = false;

  constructor(options: WorkersOptions) {
    this.options = options;
    this.slots = Array.from({ length: options.count }, () => null);
    this.deaths = Array.from({ length: options.count }, () => 0);
    this.standIns = Array.from({ length: options.count }, () => null);
  }

  get threads(): readonly WorkerThread[] {
    return this.slots.filter((thread) => thread !== null);
  }

  /** True when every slot has a worker that serves. */
  get isComplete(): boolean {
    return this.slots.every((thread) => thread !== null && thread.isAlive);
  }

  /** Starts all; the first goes ahead alone, so that a bad configuration is reported once. */
  start(next: Applied): Promise<Outcome> {
    return this.inTurn(async () => {
      const first = await this.startSlot(0, next);
      if (!first.ok) return first;
      this.applied = next;
      const others = this.slots.keys().drop(1);
      const outcomes = await Promise.all([...others].map((slot) => this.startSlot(slot, next)));
      return outcomes.find((outcome) => !outcome.ok) ?? first;
    });
  }

  /**
   * Two phases: every worker prepares `next` (one goes ahead), then all commit, or none does.
   * @param plan committed between the phases
   */
  apply(next: Applied, plan: PreparedPlan): Promise<Outcome> {
    return this.inTurn(async () => {
      const message = { type: "prepare", ...next } as const;
      const [first, ...others] = this.threads;
      let outcome = (await first?.prepare(message)) ?? ok;
      if (outcome.ok) {
        const rest = await Promise.all(others.map((thread) => thread.prepare(message)));
        outcome = rest.find((one) => !one.ok) ?? ok;
      }
      if (!outcome.ok) {
        for (const thread of this.threads) thread.tell({ type: "abort", version: next.version });
        return outcome;
      }
      await plan.settle();
      this.applied = next;
      plan.commit();
      await Promise.all(
        this.threads.map((thread) =>
          thread.commit({
            type: "commit",
            version: next.version,
            points: this.options.points(thread.slot),
          }),
        ),
      );
      return ok;
    });
  }

  /**
   * Replaces the workers one at a time by ones that run `next`, for what only a new thread can load: changed code.
   * The first new one decides; the old ones finish what they serve.
   * @param limitMs what an old worker may take for that
   */
  roll(next: Applied, plan: PreparedPlan, limitMs: number): Promise<Outcome> {
    return this.inTurn(async () => {
      for (const slot of this.slots.keys()) {
        const old = this.slots[slot] ?? null;
        const outcome = await this.startSlot(slot, next, plan.points(slot));
        if (slot === 0) {
          if (!outcome.ok) return outcome;
          await plan.settle();
          this.applied = next;
          plan.commit();
        }
        if (!outcome.ok) this.restartLater(slot);
        if (old !== null) void this.retire(old, limitMs);
      }
      return ok;
    });
  }

  /** Puts a fresh one in the place of one that cannot go on; that one finishes what it serves, for `limitMs` at most. */
  renew(thread: WorkerThread, limitMs: number): Promise<void> {
    return this.inTurn(async () => {
      const { slot } = thread;
      if (this.stopped || this.applied === null || this.slots[slot] !== thread) return;
      const outcome = await this.startSlot(slot, this.applied);
      if (!outcome.ok) return;
      this.options.onRestart();
      void this.retire(thread, limitMs);
    });
  }

  /** All stop accepting and finish; resolves when the last one has, or after `limitMs`. */
  async drain(limitMs: number): Promise<void> {
    this.stopRestarting();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, limitMs)));
    await Promise.race([Promise.all(this.threads.map((thread) => thread.drain(limitMs))), late]);
    clearTimeout(timer);
  }

  /** Ends all threads at once. */
  async stop(): Promise<void> {
    this.stopRestarting();
    await Promise.all(this.threads.map((thread) => thread.stop()));
  }

  private stopRestarting(): void {
    this.stopped = true;
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
  }

  private async startSlot(
    slot: number,
    next: Applied,
    points: readonly ListenPoint[] = this.options.points(slot),
  ): Promise<Outcome> {
    const { options } = this;
    let thread: WorkerThread;
    const number = options.numbers.take();
    try {
      thread = new WorkerThread(
        { ...options.start(), ...next, slot, points, thread: number },
        { message: options.onMessage, exit: (gone, reason) => this.exited(gone, reason) },
      );
    } catch (error) {
      options.numbers.give(number);
      return {
        ok: false,
        problems: [],
        died: `cannot start a thread: ${(error as Error).message}`,
      };
    }
    const before = this.slots[slot] ?? null;
    this.slots[slot] = thread;
    const outcome = await thread.ready;
    if (!outcome.ok) {
      if (this.slots[slot] === thread) this.slots[slot] = before;
      await thread.stop();
    }
    return outcome;
  }

  private async retire(thread: WorkerThread, limitMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, limitMs)));
    await Promise.race([thread.drain(limitMs), late]);
    clearTimeout(timer);
    await thread.stop();
  }

  private exited(thread: WorkerThread, reason: string | null): void {
    this.options.onGone(thread);
    this.options.numbers.give(thread.number);
    const { slot } = thread;
    if (this.slots[slot] !== thread) return;
    this.slots[slot] = null;
    if (reason === null || this.stopped || this.applied === null) return;
    const lived = performance.now() - thread.startedMs;
    if (lived >= healthyMs) this.deaths[slot] = 0;
    this.options.log.error(`worker ${slot} died and is started again: ${reason}`, {
      worker: slot,
      livedMs: Math.round(lived),
    });
    this.restartLater(slot);
  }

  /** The first time at once, then after 100 ms, doubling up to 10 s, with jitter. */
  private restartLater(slot: number): void {
    if (this.stopped) return;
    const deaths = this.deaths[slot]!++;
    const fullMs = Math.min(backoffMaxMs, backoffBaseMs * 2 ** Math.min(deaths - 1, 16));
    const delayMs = deaths === 0 ? 0 : fullMs * (0.5 + this.options.random() / 2);
    this.standIn(slot);
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      void this.inTurn(() => this.restart(slot));
    }, delayMs);
    this.timers.add(timer);
  }

  private async restart(slot: number): Promise<void> {
    if (this.stopped || this.slots[slot] !== null || this.applied === null) return;
    const outcome = await this.startSlot(slot, this.applied);
    if (outcome.ok) {
      this.standIns[slot]?.tell({ type: "release", slot });
      this.standIns[slot] = null;
      this.options.onRestart();
      return;
    }
    this.options.log.error(`worker ${slot} cannot be started: ${inWords(outcome)}`, {
      worker: slot,
    });
    this.restartLater(slot);
  }

  /** A living worker accepts for the dead one meanwhile, so that no caller waits in its queue. */
  private standIn(slot: number): void {
    if (this.standIns[slot]?.isAlive === true) return;
    const living = this.slots.find((thread) => thread !== null && thread.isAlive) ?? null;
    this.standIns[slot] = living;
    living?.tell({
      type: "adopt",
      slot,
      points: this.options.points(slot).filter((point) => point.descriptor !== null),
    });
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => undefined);
    return done;
  }
}

const ok: Outcome = { ok: true };

/** Why a worker could not start or prepare. */
export function inWords(outcome: Extract<Outcome, { ok: false }>): string {
  if (outcome.died !== null) return outcome.died;
  return outcome.problems.map((problem: Problem) => problem.message).join("; ");
}
