/** One request and its response, and what a worker gives to everything that serves them. */

import type { Wheel } from './clock.ts'
import type { RequestHead, ResponseHead } from './http/head.ts'
import type { ServiceMetrics } from './observe/request-metrics.ts'
import type { AccessLog } from './observe/access-log.ts'
import type { Client, Ctx, Log, Mode, Peer } from './pipeline/plugin.ts'
import type { Plane, Snapshot } from './snapshot.ts'
import type { Transport } from './listen/transport.ts'
import type { ProxyError } from './errors.ts'
import type { DialTarget } from './upstream/connect.ts'

/** What the pipeline needs of an exchange besides its {@link Ctx}. */
export interface PipelineExchange extends Ctx {
  readonly req: RequestHead
  /** The head that will be sent; null before there is one. */
  res: ResponseHead | null
  /** Position of the last plugin that was reached on the way in: later ones see neither response nor done. -1: none. */
  reached: number
  /** Response hooks still to run stand below this position; a reply made by one moves it. Start with 0x7fffffff. */
  outward: number
  /** Per plugin position: 0 not asked yet, 1 `when` holds, 2 it does not. Null until a chain has a `when`. */
  whenCache: Uint8Array | null
}

/** Limits on what a stranger controls; per listener. */
export interface ServeLimits {
  readonly headerBytes: number
  readonly headerCount: number
  readonly headerTimeoutMs: number
  readonly idleTimeoutMs: number
}

/** What a side of the proxy does with what a caller claims about itself (edge: distrust; mesh: by verified peer). */
export interface HeaderTrust {
  /** Per {@link import('./http/fields.ts').Kind}: 1 = removed before the request goes upstream. */
  readonly drop: Uint8Array
  /** Drop names with an underscore (edge). */
  readonly dropUnderscore: boolean
  /** Keep a caller's request id and deadline headers. */
  readonly honourControl: (peer: Peer | null) => boolean
  /** Address of the caller, after trusted hops. */
  clientAddress(req: RequestHead, socketAddress: string): string
  /** Lines for the upstream head: x-forwarded-*, forwarded, x-weft-peer; each ends with CRLF. */
  lines(req: RequestHead, conn: ConnectionInfo): string
}

/** A connection that HTTP is served on. */
export interface ConnectionInfo {
  readonly client: Client
  readonly peer: Peer | null
  readonly listener: string
  readonly secure: boolean
  /** True when the certificate shown on this connection does not cover the host: 421. */
  misdirected(host: string): boolean
}

/** Opens connections to endpoints; `upstream/connect.ts` is the real one. */
export type Dial = (
  target: DialTarget,
  options: { readonly timeoutMs: number },
  done: (error: ProxyError | null, transport: Transport | null) => void,
) => { cancel(): void }

/** One per worker and plane: everything that serving needs and that outlives a connection. */
export interface ServeEnv {
  readonly mode: Mode
  readonly wheel: Wheel
  readonly limits: ServeLimits
  readonly trust: HeaderTrust
  readonly log: Log
  readonly accessLog: AccessLog | null
  readonly metrics: ServiceMetrics
  readonly dial: Dial
  /** The snapshot in effect; an exchange asks once. */
  snapshot(): Snapshot
  plane(snapshot: Snapshot): Plane
  /** Monotonic milliseconds. */
  now(): number
  random(): number
  /** True once draining: answers carry `Connection: close`. */
  isDraining(): boolean
}
