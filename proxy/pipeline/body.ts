/** Runs the body hooks of a chain: what goes in are the bytes as received, what comes out is what goes on. */

import type { Chain } from './chain.ts'
import type { Reply } from './plugin.ts'
import type { PipelineExchange } from '../exchange.ts'
import type { ProxyError } from '../errors.ts'
import type { ResponseHead } from '../http/head.ts'

/** Takes what a {@link BodyTransform} puts out. Calls come during `write` and `end`, or later when a hook is asynchronous. */
export interface BodySink {
  /** Valid only during the call. */
  onData(bytes: Uint8Array): void
  /** Once, after the last byte. */
  onEnd(): void
  /** After `write` returned false: feed again. */
  onReady(): void
  /** A plugin ends the exchange with this answer; nothing more comes. */
  onReply(reply: Reply): void
  /** The body cannot go on: body-too-large (413), upstream-invalid (502) or plugin-error (500); nothing more comes. */
  onError(error: ProxyError): void
}

/** One body on its way through the plugins that want it. Set `sink` before the first `write`. */
export class BodyTransform {
  sink: BodySink | null = null
  /** True: nothing comes out before everything went in, so hold the head until the first call of the sink. */
  readonly holdsHead: boolean = false
  /** Bytes that will come out: read it at the first `onData` or `onEnd`; -1: not known, use chunked framing. */
  outputLength = -1

  /** The chunk is copied where it is kept. False: stop feeding until `onReady`. */
  write(_chunk: Uint8Array): boolean {
    return true
  }

  end(): void {}

  /** The exchange is over: no further call of the sink. */
  destroy(): void {}
}

/** Null: no plugin wants this body. Call it after `runRequest`. */
export function openRequestBody(_chain: Chain | null, _x: PipelineExchange): BodyTransform | null {
  return null
}

/** Null: no plugin wants this body. Call it after the last `runResponse`, before the head is sent. */
export function openResponseBody(_chain: Chain | null, _x: PipelineExchange, _res: ResponseHead): BodyTransform | null {
  return null
}
