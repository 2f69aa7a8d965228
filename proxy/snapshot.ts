/** The immutable compiled configuration. An exchange keeps the one it began with. */

import type { Fields } from "./http/fields.ts";
import type { Chain } from "./pipeline/chain.ts";
import type { TcpChain } from "./pipeline/tcp-chain.ts";
import type { Mode } from "./pipeline/plugin.ts";
import type { Router } from "./route/table.ts";
import type { Service } from "./service/service.ts";
import type { AccessRules } from "../policies/access.ts";
import type { RetryPolicy } from "../policies/retry.ts";

export interface Snapshot {
  /** Counts up by one per applied configuration, from 1. */
  readonly version: number;
  /** What answers each plane: a gateway has `edge`, a sidecar has `outbound` and `inbound`. */
  readonly planes: {
    readonly edge: Plane | null;
    readonly outbound: Plane | null;
    readonly inbound: Plane | null;
  };
  /** Live objects: they outlive the snapshot, so that pools, balancers and health do. */
  readonly services: ReadonlyMap<string, Service>;
  /** Called once, at the commit: puts changed endpoints and policies of the live services in effect. Never throws. */
  activate(): void;
  /** By listener name. */
  readonly streams: ReadonlyMap<string, StreamTarget>;
  /** Counts the exchanges that began with it. */
  readonly use: SnapshotUse;
}

/** Where a `tcp`, `tls` or `auto` listener sends its connections. */
export interface StreamTarget {
  /** What decides: nothing but the listener, the server name of a ClientHello, or what the first bytes speak. */
  readonly by: "listener" | "server-name" | "first-bytes";
  /** Who takes it when the name does not decide. Null: nobody. */
  readonly to: Choice | null;
  /** Who takes TLS for this server name, unopened. Null: nobody. */
  named(serverName: string | null): Choice | null;
  /** The listener's plugins; null: none. */
  readonly chain: TcpChain | null;
}

/** Knows when the last exchange on a snapshot has ended. */
export class SnapshotUse {
  private exchanges = 0;
  private retired = false;
  private readonly onUnused: () => void;

  /** @param onUnused once, when it is retired and no exchange is left: closes plugin instances that no later snapshot uses */
  constructor(onUnused: () => void) {
    this.onUnused = onUnused;
  }

  get active(): number {
    return this.exchanges;
  }

  enter(): void {
    this.exchanges++;
  }

  leave(): void {
    if (--this.exchanges === 0 && this.retired) this.onUnused();
  }

  /** A later snapshot has taken its place. */
  retire(): void {
    if (this.retired) return;
    this.retired = true;
    if (this.exchanges === 0) this.onUnused();
  }
}

/** One routing world: the table, the plugins that run before routing, and the rules of that side. */
export interface Plane {
  readonly mode: Mode;
  readonly router: Router<Route>;
  /** `connection` and `early` hooks of the global list, and the chain used for answers given before a route is known. */
  readonly unrouted: Chain | null;
  /** Asked after routing with the verified peer; null: everything is allowed. */
  readonly access: AccessRules | null;
  /** This proxy's service name, for access rules (`to`). */
  readonly self: string;
}

export interface Route {
  readonly name: string;
  readonly target: Target;
  /** Null: no plugin at all. */
  readonly chain: Chain | null;
  readonly rewrite: Rewrite | null;
  /** One of its matches lists CONNECT by name: tunnels to its service may be made. */
  readonly connects: boolean;
  /** Policy for a target without a service of its own (respond, redirect, app). */
  readonly policy: Policy;
}

export type Target =
  | { readonly kind: "service"; readonly choices: WeightedChoice }
  | { readonly kind: "redirect"; readonly redirect: Redirect }
  | {
      readonly kind: "respond";
      readonly status: number;
      readonly body: string;
      readonly headers: Fields;
    }
  | { readonly kind: "app"; readonly app: App };

/** Exact over time: smooth weighted round robin, per worker. */
export interface WeightedChoice {
  readonly all: readonly Choice[];
  next(): Choice;
}
export interface Choice {
  readonly service: Service;
  readonly policy: Policy;
}

export interface App {
  fetch(request: Request): Response | Promise<Response>;
}

export interface Rewrite {
  readonly prefix: string | null;
  readonly path: string | null;
  readonly host: string | null;
}

export interface Redirect {
  readonly scheme: "http" | "https" | null;
  readonly host: string | null;
  readonly port: number | null;
  readonly path: string | null;
  readonly prefix: string | null;
  readonly status: number;
}

/** Effective policy: default <- service <- route, defaults filled in. Milliseconds; 0 means none. */
export interface Policy {
  /** From the end of the request to the head of the answer, retries included. */
  readonly timeoutMs: number;
  readonly totalTimeoutMs: number;
  readonly attemptTimeoutMs: number;
  readonly connectTimeoutMs: number;
  /** No byte in either direction for this long ends the exchange. */
  readonly idleTimeoutMs: number;
  readonly retry: RetryPolicy;
}
