/** Asks for the decisions of one turn of the event loop in one call of a script: one command, one promise, one timer. */

import { numbersPerKey } from "./redis-scripts.ts";
import type { StoreScript } from "./redis-scripts.ts";
import type { RedisStore } from "./redis-store.ts";

/** Most decisions in a call: while a script runs, Redis does nothing else. */
const mostKeys = 64;

/** One decision that is asked for. */
export interface ScriptCall {
  readonly key: string;
  /** What the script wants for the key: {@link numbersPerKey} of them. */
  readonly numbers: readonly number[];
  /** Once. Null: no answer; else those of this call begin at `at`. */
  settle(answer: readonly number[] | null, at: number): void;
}

/** The calls of one script. */
export class ScriptBatch {
  private readonly store: RedisStore;
  private readonly script: StoreScript;
  private waiting: ScriptCall[] = [];
  private readonly sendAll = (): void => this.send();

  constructor(store: RedisStore, script: StoreScript) {
    this.store = store;
    this.script = script;
  }

  /** Goes out when this turn has read what there is to read, or when there are enough. */
  add(call: ScriptCall): void {
    if (this.waiting.length === 0) setImmediate(this.sendAll);
    if (this.waiting.push(call) >= mostKeys) this.send();
  }

  private send(): void {
    const calls = this.waiting;
    if (calls.length === 0) return;
    this.waiting = [];
    if (!this.store.takesSeveral) {
      for (const call of calls) this.ask([call]);
    } else this.ask(calls);
  }

  private ask(calls: readonly ScriptCall[]): void {
    const keys = calls.map((call) => call.key);
    const numbers = calls.flatMap((call) => call.numbers);
    void this.store.run(this.script, keys, numbers).then((answer) => {
      for (const [i, call] of calls.entries()) call.settle(answer, i * numbersPerKey);
    });
  }
}
