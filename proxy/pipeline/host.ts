/** What a plugin gets from weft at setup: handles that end with the instance. */

import { FieldName } from "../http/fields.ts";
import { BoundedCache } from "./local-cache.ts";
import type {
  Consumers,
  Counter,
  GateSpec,
  Host,
  LimiterSpec,
  Log,
  Mode,
  Plan,
  Refusal,
  SharedGate,
  SharedGenerations,
  SharedLimiter,
} from "./plugin.ts";

/** What a worker gives to all its plugins. */
export interface HostSource {
  readonly log: Log;
  /** Monotonic milliseconds. */
  now(): number;
  /** Milliseconds since 1970. */
  wallNow(): number;
  /** 0 <= x < 1 */
  random(): number;
  /** `weft_<name>_total` */
  counter(name: string, labels: readonly string[]): Counter;
  /** Exact over the worker threads of the process. */
  limiter(spec: LimiterSpec): SharedLimiter;
  /** Exact over the worker threads of the process. */
  gate(spec: GateSpec): SharedGate;
  generations(): SharedGenerations;
  /** A limit refused a caller. */
  refused(route: string, refusal: Refusal): void;
  /** Where access lines go. */
  print(line: string): void;
  /** Gauge `weft_store_up{store}`; going down also counts `weft_store_errors_total`. */
  storeUp(store: string, up: boolean): void;
  /** `weft_plugin_errors_total{plugin}` */
  pluginError(plugin: string): void;
  /** `weft_plugin_duration_seconds{plugin}` */
  pluginSeconds(plugin: string, seconds: number): void;
}

/** What of the configuration plugins can see. A plugin that looked at one of them is set up anew when it changes. */
export interface HostFacts {
  readonly consumers: Consumers;
  readonly plans: Readonly<Record<string, Plan>>;
  readonly stores: { readonly redis: string | readonly string[] | null };
  readonly baseDir: string;
}

export interface HostIdentity {
  readonly id: string;
  readonly mode: Mode;
  readonly route: string | null;
}

/** The host of one instance, and its end. */
export class PluginHost implements Host {
  readonly mode: Mode;
  readonly route: string | null;
  readonly id: string;
  readonly log: Log;
  /** Which facts the plugin looked at. */
  readonly touched = new Set<keyof HostFacts>();
  private readonly source: HostSource;
  private readonly facts: HostFacts;
  private readonly timers = new Set<NodeJS.Timeout>();
  private isClosed = false;

  constructor(source: HostSource, facts: HostFacts, identity: HostIdentity) {
    this.source = source;
    this.facts = facts;
    this.mode = identity.mode;
    this.route = identity.route;
    this.id = identity.id;
    this.log = withPlugin(source.log, identity.id);
  }

  get consumers(): Consumers {
    this.touched.add("consumers");
    return this.facts.consumers;
  }

  get plans(): HostFacts["plans"] {
    this.touched.add("plans");
    return this.facts.plans;
  }

  get stores(): HostFacts["stores"] {
    this.touched.add("stores");
    return this.facts.stores;
  }

  get baseDir(): string {
    this.touched.add("baseDir");
    return this.facts.baseDir;
  }

  header(name: string): FieldName {
    return new FieldName(name);
  }

  counter(name: string, labels: readonly string[] = []): Counter {
    return this.source.counter(name, labels);
  }

  local<V>(_name: string, options: { max: number; ttlMs?: number }): BoundedCache<V> {
    return new BoundedCache<V>(options, () => this.source.now());
  }

  limiter(spec: LimiterSpec): SharedLimiter {
    return this.source.limiter(spec);
  }

  gate(spec: GateSpec): SharedGate {
    return this.source.gate(spec);
  }

  generations(): SharedGenerations {
    return this.source.generations();
  }

  refused(refusal: Refusal): void {
    this.source.refused(this.route ?? "", refusal);
  }

  now(): number {
    return this.source.now();
  }

  wallNow(): number {
    return this.source.wallNow();
  }

  random(): number {
    return this.source.random();
  }

  every(intervalMs: number, run: () => void | Promise<void>): void {
    if (this.isClosed) return;
    let isRunning = false;
    const timer = setInterval(async () => {
      if (isRunning) return;
      isRunning = true;
      try {
        await run();
      } catch (error) {
        this.log.error("a timer of the plugin failed", { error: String(error) });
      } finally {
        isRunning = false;
      }
    }, intervalMs).unref();
    this.timers.add(timer);
  }

  print(line: string): void {
    this.source.print(line);
  }

  storeUp(store: string, up: boolean): void {
    this.source.storeUp(store, up);
  }

  /** Cancels the timers. */
  close(): void {
    this.isClosed = true;
    for (const timer of this.timers) clearInterval(timer);
    this.timers.clear();
  }
}

/** The host that a plugin's `setup` receives. `close()` ends what it handed out. */
export function createHost(
  source: HostSource,
  facts: HostFacts,
  identity: HostIdentity,
): PluginHost {
  return new PluginHost(source, facts, identity);
}

function withPlugin(log: Log, plugin: string): Log {
  return {
    debug: (message, fields) => log.debug(message, { plugin, ...fields }),
    info: (message, fields) => log.info(message, { plugin, ...fields }),
    warn: (message, fields) => log.warn(message, { plugin, ...fields }),
    error: (message, fields) => log.error(message, { plugin, ...fields }),
  };
}
