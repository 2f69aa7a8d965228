/** Redis, single or a cluster: one connection per worker, answers in time, and a pause for a store that is away. */

import { setTimeout as delay } from "node:timers/promises";
import { Cluster, Redis } from "ioredis";
import { ScriptBatch } from "./redis-batch.ts";
import { numbersPerKey, storeScripts } from "./redis-scripts.ts";
import type { StoreScript } from "./redis-scripts.ts";
import type { Host } from "../proxy/pipeline/plugin.ts";

/** A decision takes at most 20 ms; what is left of it is for the event loop. */
const answerWithinMs = 15;
/** After a failure the store is asked again by one probe at a time: first after this long, then after twice as long. */
const firstPauseMs = 100;
const longestPauseMs = 2000;
/** A store that answered for less than this has not recovered: the pauses go on growing. */
const steadyMs = 5000;
/** A probe may take longer than a decision: nobody waits for it. But an answer this slow is none. */
const probeWithinMs = 1000;

/** After so many probes without any answer the connections are made anew: a path that is dead does not say so. */
const silentProbes = 2;

/** A URL, or those of some nodes of a cluster. */
export type RedisAddress = string | readonly string[];
type StoreHost = Pick<Host, "log" | "storeUp" | "random">;
type Command = (...args: (string | number)[]) => Promise<unknown>;

/** One Redis of this worker. Commands of one turn of the event loop travel together. */
export class RedisStore {
  readonly client: Redis | Cluster;
  /** False: each key needs a call of its own, since keys of a cluster are on different nodes. */
  takesSeveral: boolean;
  private readonly host: StoreHost;
  private readonly isCluster: boolean;
  private readonly batches: ReadonlyMap<StoreScript, ScriptBatch>;
  private isUp: boolean | null = null;
  private failures = 0;
  private upSinceMs = 0;
  private silence = 0;
  private probe: NodeJS.Timeout | null = null;
  private isClosed = false;

  constructor(address: RedisAddress, host: StoreHost) {
    this.host = host;
    this.isCluster = typeof address !== "string";
    this.takesSeveral = !this.isCluster;
    this.client = connect(address, host);
    for (const { one, several, lua } of Object.values(storeScripts)) {
      this.client.defineCommand(one, { numberOfKeys: 1, lua });
      this.client.defineCommand(several, { lua });
    }
    this.batches = new Map(
      Object.values(storeScripts).map((script) => [script, new ScriptBatch(this, script)]),
    );
    this.client.on("error", (error: Error) => this.sawDown(error.message));
    this.client.on("ready", () => this.ask());
    this.client.on("close", () => this.sawDown("the connection was closed"));
    // of a cluster one node may be away while the others answer: its keys fail, and the map is read anew
    if (this.isCluster) this.client.on("node error", () => {});
  }

  /** False: it did not answer lately, and a probe is finding out when it does again. */
  get answers(): boolean {
    return this.isUp === true;
  }

  /** Resolves when it answers, or has had the time to. */
  async settled(limitMs: number): Promise<void> {
    const endMs = performance.now() + limitMs;
    while (this.isUp === null && !this.isClosed && performance.now() < endMs) await delay(5);
  }

  /** What is asked for of a script in one turn of the event loop. */
  batch(script: StoreScript): ScriptBatch {
    return this.batches.get(script)!;
  }

  /**
   * One call of a script: {@link numbersPerKey} numbers for each key. Null: no answer in time, or another one. Never
   * rejects. Several keys only while {@link takesSeveral}.
   */
  run(
    script: StoreScript,
    keys: readonly string[],
    numbers: readonly number[],
  ): Promise<readonly number[] | null> {
    return this.inTime(() => this.call(script, keys, numbers));
  }

  private async call(
    script: StoreScript,
    keys: readonly string[],
    given: readonly number[],
  ): Promise<readonly number[]> {
    const commands = this.client as unknown as Record<string, Command>;
    const answer =
      keys.length === 1
        ? await commands[script.one]!(keys[0]!, ...given)
        : await this.callSeveral(script, keys, given);
    const numbers = Array.isArray(answer) ? answer.map(Number) : [];
    if (numbers.length !== keys.length * numbersPerKey || !numbers.every(Number.isFinite))
      throw new Error("its answer is none of a script");
    return numbers;
  }

  private async callSeveral(
    script: StoreScript,
    keys: readonly string[],
    given: readonly number[],
  ): Promise<unknown> {
    const commands = this.client as unknown as Record<string, Command>;
    try {
      return await commands[script.several]!(keys.length, ...keys, ...given);
    } catch (error) {
      if (!reasonOf(error).startsWith("CROSSSLOT")) throw error;
      // a node of a cluster, reached as if it were alone: it has done nothing yet
      this.takesSeveral = false;
      const each = await Promise.all(
        keys.map((key, i) => {
          const at = i * numbersPerKey;
          return commands[script.one]!(key, ...given.slice(at, at + numbersPerKey));
        }),
      );
      return each.flat();
    }
  }

  /** Null: no answer in time. Never rejects. */
  inTime<T>(ask: () => Promise<T>): Promise<T | null> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        // an answer that waits behind a busy event loop is read before this is called a failure
        setImmediate(() => {
          if (!isOver) this.sawDown(`no answer within ${answerWithinMs} ms`);
          finish(null);
        });
      }, answerWithinMs);
      let isOver = false;
      const finish = (value: T | null): void => {
        if (isOver) return;
        isOver = true;
        clearTimeout(timer);
        resolve(value);
      };
      ask().then(finish, (error: unknown) => {
        if (!isOver) this.sawDown(reasonOf(error));
        finish(null);
      });
    });
  }

  close(): void {
    this.isClosed = true;
    if (this.probe !== null) clearTimeout(this.probe);
    this.client.removeAllListeners();
    this.client.on("error", () => {});
    this.client.disconnect();
  }

  private sawUp(): void {
    if (this.isClosed || this.isUp === true) return;
    this.isUp = true;
    this.upSinceMs = performance.now();
    this.host.storeUp("redis", true);
    this.host.log.info("the redis store answers");
  }

  private sawDown(reason: string): void {
    if (this.isClosed) return;
    if (this.isUp !== false) {
      if (this.isUp === true && performance.now() - this.upSinceMs > steadyMs) this.failures = 0;
      this.isUp = false;
      this.host.storeUp("redis", false);
      this.host.log.warn("the redis store is away", { reason });
    }
    if (this.probe !== null) return;
    // proxies that lost it together do not come back together
    const pauseMs = Math.min(firstPauseMs * 2 ** this.failures++, longestPauseMs);
    const jittered = pauseMs * (0.5 + this.host.random());
    this.probe = setTimeout(() => this.ask(), jittered).unref();
  }

  /** One harmless script, as decisions are: a store that is loading, read-only or not a master of anything fails it. */
  private ask(): void {
    if (this.probe !== null) clearTimeout(this.probe);
    let isOver = false;
    const settle = (reason: string | null): void => {
      if (isOver || this.isClosed) return;
      isOver = true;
      clearTimeout(deadline);
      this.probe = null;
      if (reason === null) this.sawUp();
      else this.sawDown(reason);
    };
    const deadline = setTimeout(() => {
      this.heardNothing();
      settle("no answer to a probe");
    }, probeWithinMs).unref();
    this.probe = deadline;
    const key = `weft:probe:${Math.floor(this.host.random() * 1e6)}`;
    const sentMs = performance.now();
    this.call(storeScripts.gcra, [key], [1, 2, 1, 1]).then(
      () => {
        this.silence = 0;
        settle(performance.now() - sentMs > probeWithinMs / 4 ? "a slow probe" : null);
      },
      (error: unknown) => {
        if (isOver) return;
        if (error instanceof Error && error.name === "ReplyError") this.silence = 0;
        else this.heardNothing();
        settle(reasonOf(error));
      },
    );
  }

  private heardNothing(): void {
    // one that connects already is left to it, up to its own time limit
    const { status } = this.client;
    if (++this.silence < silentProbes || (status !== "ready" && status !== "connect")) return;
    this.silence = 0;
    this.client.disconnect(true);
  }
}

function connect(address: RedisAddress, host: StoreHost): Redis | Cluster {
  const wait = (attempt: number): number =>
    Math.min(50 * 2 ** attempt, 2000) * (0.5 + host.random());
  const shared = {
    // a command that cannot be sent now is of no use later
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    // they are what a turn has collected already
    autoPipeliningIgnoredCommands: Object.values(storeScripts).map(({ several }) => several),
    connectTimeout: 2000,
    maxRetriesPerRequest: 0,
  };
  if (typeof address === "string") return new Redis(address, { ...shared, retryStrategy: wait });
  const { username, password, protocol } = new URL(address[0]!);
  return new Cluster([...address], {
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    clusterRetryStrategy: wait,
    // a key that has moved is asked for once more, where it is now
    maxRedirections: 2,
    retryDelayOnFailover: 1,
    retryDelayOnClusterDown: 1,
    retryDelayOnMoved: 0,
    slotsRefreshTimeout: 1000,
    redisOptions: {
      ...shared,
      ...(username === "" ? {} : { username: decodeURIComponent(username) }),
      ...(password === "" ? {} : { password: decodeURIComponent(password) }),
      ...(protocol === "rediss:" ? { tls: {} } : {}),
    },
  });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const stores = new Map<string, { readonly store: RedisStore; users: number }>();

/** The one store of this worker for an address. Give it back with {@link releaseRedis}. */
export function shareRedis(address: RedisAddress, host: StoreHost): RedisStore {
  const key = String(address);
  let entry = stores.get(key);
  if (entry === undefined)
    stores.set(key, (entry = { store: new RedisStore(address, host), users: 0 }));
  entry.users++;
  return entry.store;
}

export function releaseRedis(address: RedisAddress): void {
  const key = String(address);
  const entry = stores.get(key);
  if (entry === undefined || --entry.users > 0) return;
  stores.delete(key);
  entry.store.close();
}
