/** What compiling needs of a worker, made for tests: everything is real but the limiter and the numbers. */

import type { TestContext } from "node:test";
import { buildSnapshot } from "../../control/compile.ts";
import type { Config } from "../../control/config.ts";
import { SharedState } from "../../proxy/observe/shared.ts";
import type { HostSource } from "../../proxy/pipeline/host.ts";
import { InstanceStore } from "../../proxy/pipeline/instance-store.ts";
import type { Log } from "../../proxy/pipeline/plugin.ts";
import type { RouteQuery } from "../../proxy/route/table.ts";
import { ServiceSet } from "../../proxy/service/set.ts";
import type { Plane, Route, Snapshot } from "../../proxy/snapshot.ts";
import type { DialIdentity } from "../../proxy/upstream/connect.ts";

export const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} };

const source: HostSource = {
  log: quiet,
  now: () => performance.now(),
  wallNow: () => Date.now(),
  random: Math.random,
  counter: () => ({ inc() {} }),
  limiter: ({ limit }) => ({
    take: () => ({ allowed: true, limit, remaining: limit, resetMs: 0, retryAfterMs: 0 }),
  }),
  gate: () => ({ enter: () => ({ remaining: 1, leave() {} }) }),
  generations: () => ({ of: () => 0, advance() {} }),
  refused() {},
  storeUp() {},
  print() {},
  pluginError() {},
  pluginSeconds() {},
};

/** One worker's lasting parts. */
export class Worker {
  readonly services = new ServiceSet({
    shared: SharedState.create({ endpoints: 64, limits: 32, threads: 4 }),
    metrics: null,
  });
  readonly instances = new InstanceStore(source);
  private version = 0;

  constructor(t: TestContext) {
    t.after(() => this.instances.close());
  }

  /** Builds, and leaves it at that. */
  build(
    config: Config,
    mode: "gateway" | "mesh" = "gateway",
    identity: DialIdentity | null = null,
  ): Promise<Snapshot> {
    const { services, instances } = this;
    return buildSnapshot(config, { mode, version: ++this.version, services, instances, identity });
  }

  /** Builds and puts in effect. */
  async apply(
    config: Config,
    mode: "gateway" | "mesh" = "gateway",
    identity: DialIdentity | null = null,
  ): Promise<Snapshot> {
    const snapshot = await this.build(config, mode, identity);
    snapshot.activate();
    return snapshot;
  }
}

export interface Ask {
  readonly method?: string;
  readonly host?: string;
  readonly path?: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export function queryOf(ask: Ask): RouteQuery {
  return {
    method: ask.method ?? "GET",
    host: ask.host ?? "h",
    path: ask.path ?? "/",
    query: ask.query ?? "",
    header: (name) => ask.headers?.[name],
  };
}

/** The route that a request takes on a plane; null: none. */
export function routeOf(plane: Plane | null, ask: Ask): Route | null {
  const result = plane?.router.match(queryOf(ask));
  return result?.kind === "route" ? result.value : null;
}

/** The names of a route's plugins in run order. */
export function pluginsOf(route: Route | null): string[] {
  return route?.chain?.plugins.map(({ id }) => id) ?? [];
}
