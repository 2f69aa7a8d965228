/** CONNECT at a sidecar: the app's bytes to an endpoint of the service that it names, through mTLS, and back. */

import { fail, finish } from "../answer.ts";
import { ProxyError } from "../errors.ts";
import type { Exchange, Tunnel } from "../exchange.ts";
import type { ByteStream, Transport } from "../listen/transport.ts";
import type { Endpoint } from "../service/endpoint.ts";

const ESTABLISHED = "HTTP/1.1 200 Connection established\r\n\r\n";

/** Makes a tunnel ready; it starts once the bytes of this turn have been kept. */
export function prepareConnect(x: Exchange): Tunnel {
  return new ConnectTunnel(x);
}

class ConnectTunnel implements Tunnel {
  private readonly x: Exchange;
  private readonly tried = new Set<Endpoint>();
  private endpoint: Endpoint | null = null;
  private dialling: { cancel(): void } | null = null;
  private caller: ByteStream | null = null;
  private upstream: Transport | null = null;
  private started = false;
  private over = false;

  constructor(x: Exchange) {
    this.x = x;
  }

  start(): void {
    if (this.started || this.over) return;
    this.started = true;
    this.dial();
  }

  destroy(): void {
    this.end("client-aborted");
  }

  private dial(): void {
    const { x } = this;
    const service = x.service!;
    const startMs = x.env.now();
    const endpoint = service.pick(this.tried, startMs);
    if (typeof endpoint === "string")
      return this.refuse(
        new ProxyError(endpoint, `service ${service.name} has no usable endpoint`),
      );
    x.attempts++;
    x.endpoint = endpoint.address;
    endpoint.active++;
    this.endpoint = endpoint;
    // what the app says inside is its own; to a peer's sidecar that is HTTP/1.1
    const target = {
      ...endpoint.target,
      protocol: endpoint.target.tls === null ? "tcp" : "http1",
    } as const;
    const { connectTimeoutMs } = x.policy!;
    this.dialling = x.env.dial(target, { timeoutMs: connectTimeoutMs }, (error, upstream) => {
      this.dialling = null;
      if (this.over) return upstream?.destroy();
      const nowMs = x.env.now();
      const outcome = upstream === null ? "failure" : "success";
      service.report(endpoint, outcome, nowMs - startMs, nowMs);
      x.env.metrics.attempt(service.name, endpoint.address, error?.code ?? "connected");
      if (upstream === null) this.failed(endpoint, error!);
      else this.connected(upstream);
    });
  }

  /** Nothing has been sent: another endpoint may have the connection. */
  private failed(endpoint: Endpoint, error: ProxyError): void {
    const { x } = this;
    const service = x.service!;
    const { retry } = x.policy!;
    endpoint.active--;
    this.endpoint = null;
    this.tried.add(endpoint);
    const more = x.attempts <= retry.attempts && retry.on.has("connect-failure");
    if (!more || !service.budget.takeRetry(retry, x.env.now())) return this.refuse(error);
    x.env.metrics.retry(service.name, "connect-failure");
    this.dial();
  }

  private connected(upstream: Transport): void {
    const { x } = this;
    const taken = x.downstream.takeOver();
    if (taken === null) {
      upstream.destroy();
      return this.refuse(
        new ProxyError("not-implemented", "CONNECT is offered over HTTP/1.1 alone"),
      );
    }
    const caller = taken.transport;
    this.caller = caller;
    this.upstream = upstream;
    x.status = 200;
    x.stage = "responding";
    x.env.metrics.connection("upstream", 1);
    const pass = (chunk: Buffer, to: ByteStream, from: ByteStream): void => {
      x.lastByteMs = x.env.now();
      if (!to.write(Buffer.from(chunk))) from.pause();
    };
    caller.handler = {
      onData: (chunk) => {
        x.requestBytes += chunk.length;
        pass(chunk, upstream, caller);
      },
      onEnd: () => upstream.end(),
      onClose: () => this.end("complete"),
      onDrain: () => upstream.resume(),
    };
    upstream.handler = {
      onData: (chunk) => {
        x.responseBytes += chunk.length;
        pass(chunk, caller, upstream);
      },
      onEnd: () => caller.end(),
      onClose: () => this.end("complete"),
      onDrain: () => caller.resume(),
    };
    caller.write(ESTABLISHED);
    if (taken.rest.length > 0) caller.handler.onData(taken.rest);
    upstream.resume();
    caller.resume();
  }

  private refuse(error: ProxyError): void {
    const { x } = this;
    this.release();
    x.tunnel = null;
    fail(x, error);
    x.downstream.flush();
  }

  /** Either side is gone: so is the other. */
  private end(how: "complete" | "client-aborted"): void {
    if (this.over) return;
    const { caller, upstream, x } = this;
    this.release();
    if (upstream !== null) x.env.metrics.connection("upstream", -1);
    upstream?.destroy();
    caller?.destroy();
    finish(x, how);
  }

  private release(): void {
    this.over = true;
    this.dialling?.cancel();
    if (this.endpoint !== null) this.endpoint.active--;
    this.endpoint = null;
  }
}
