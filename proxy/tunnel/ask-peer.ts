/** Asks a peer's sidecar, over mTLS that stands, for a tunnel to its app: CONNECT of HTTP/1.1, and its answer. */

import { Timed, type Wheel } from "../clock.ts";
import { ProxyError } from "../errors.ts";
import { ResponseHead } from "../http/head.ts";
import { parseResponseHead, type HeadLimits } from "../http1/head.ts";
import { NEED_MORE, releaseArrays } from "../http1/scan.ts";
import type { Transport, TransportHandler } from "../listen/transport.ts";
import { nobody } from "./early-call.ts";

export interface AskOptions {
  /** Name of the service, as the peer knows itself. */
  readonly service: string;
  /** For messages. */
  readonly endpoint: string;
  /** For the answer; 0: no limit. */
  readonly timeoutMs: number;
  readonly wheel: Wheel;
  now(): number;
}

/** @param rest what the app has said already; the transport is paused */
type Done = (error: ProxyError | null, rest: Buffer) => void;

const limits: HeadLimits = { headerBytes: 16 * 1024, headerCount: 100 };
const NOTHING = Buffer.alloc(0);

/**
 * `done` runs once, unless the asking is cancelled. A refusal by the peer's rules is `forbidden` and final; that its app
 * is away is `connect-refused`, and another endpoint may have the connection.
 */
export function askPeer(transport: Transport, options: AskOptions, done: Done): { cancel(): void } {
  return new Asking(transport, options, done);
}

class Asking extends Timed implements TransportHandler {
  private readonly transport: Transport;
  private readonly options: AskOptions;
  private done: Done | null;
  private held: Buffer = NOTHING;

  constructor(transport: Transport, options: AskOptions, done: Done) {
    super();
    this.transport = transport;
    this.options = options;
    this.done = done;
    const { service, timeoutMs, wheel } = options;
    if (timeoutMs > 0) wheel.arm(this, options.now() + timeoutMs);
    transport.handler = this;
    // the port is the peer's affair: it has one app
    transport.write(`CONNECT ${service}:0 HTTP/1.1\r\nHost: ${service}:0\r\n\r\n`);
    transport.resume();
  }

  cancel(): void {
    this.done = null;
    this.drop();
  }

  override onDue(): void {
    const { endpoint, timeoutMs } = this.options;
    this.fail(
      new ProxyError("connect-timeout", `${endpoint} did not answer CONNECT in ${timeoutMs} ms`),
    );
  }

  onData(chunk: Buffer): void {
    this.held = Buffer.concat([this.held, chunk]);
    const { held } = this;
    const { endpoint, wheel } = this.options;
    const head = new ResponseHead();
    const after = parseResponseHead(held, 0, held.length, head, "CONNECT", limits);
    if (after === NEED_MORE) return;
    if (after < 0)
      return this.fail(
        new ProxyError("upstream-invalid", `${endpoint} did not answer CONNECT in HTTP/1.1`),
      );
    const { status } = head;
    releaseArrays(head.headers);
    if (status === 200) {
      const { done } = this;
      this.done = null;
      wheel.disarm(this);
      this.transport.pause();
      return done?.(null, Buffer.from(held.subarray(after)));
    }
    const code = status >= 500 ? "connect-refused" : "forbidden";
    this.fail(new ProxyError(code, `${endpoint} answered CONNECT with ${status}`));
  }

  onEnd(): void {
    this.onClose(null);
  }

  onClose(error: Error | null): void {
    const { endpoint } = this.options;
    const why = error === null ? "closed the connection" : error.message;
    this.fail(new ProxyError("upstream-reset", `${endpoint} did not answer CONNECT: ${why}`));
  }

  onDrain(): void {}

  private fail(error: ProxyError): void {
    const { done } = this;
    this.done = null;
    this.drop();
    done?.(error, NOTHING);
  }

  private drop(): void {
    this.options.wheel.disarm(this);
    this.transport.handler = nobody;
    this.transport.destroy();
  }
}
