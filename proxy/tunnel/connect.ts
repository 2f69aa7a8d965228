/** CONNECT, over HTTP/1.1 and as a stream of HTTP/2 (RFC 9113 section 8.5): bytes to an endpoint of the route's service and back. */

import { fail, finish } from "../answer.ts";
import { ProxyError } from "../errors.ts";
import type { Exchange, Tunnel } from "../exchange.ts";
import { proxyHeader } from "../listen/proxy-header.ts";
import type { Transport } from "../listen/transport.ts";
import type { DoneInfo } from "../pipeline/plugin.ts";
import { runAttempt } from "../pipeline/run.ts";
import type { Endpoint } from "../service/endpoint.ts";
import type { DialTarget } from "../upstream/connect.ts";
import { Reach, type ReachOwner } from "./reach.ts";
import { Splice, type Side } from "./splice.ts";

const ESTABLISHED = "HTTP/1.1 200 Connection established\r\n\r\n";

/**
 * Makes a tunnel ready; it starts once the bytes of this turn have been kept. Where it leads is the route's affair alone:
 * the host and port that the caller names choose the route, never the address.
 */
export function prepareConnect(x: Exchange): Tunnel {
  return new ConnectTunnel(x);
}

class ConnectTunnel implements Tunnel, ReachOwner {
  private readonly x: Exchange;
  private reach: Reach | null = null;
  private splice: Splice | null = null;
  private over = false;

  constructor(x: Exchange) {
    this.x = x;
  }

  start(): void {
    if (this.reach !== null || this.over) return;
    const { x } = this;
    this.reach = new Reach({ service: x.service!, policy: x.policy! }, x.env, this);
    this.reach.start();
  }

  takeMoved(): boolean {
    return this.splice?.takeMoved() ?? false;
  }

  abandon(): void {
    this.over = true;
    this.reach?.leave();
  }

  destroy(how: DoneInfo["end"]): void {
    this.end(how);
  }

  // === impl ReachOwner ===

  targetOf({ target }: Endpoint): DialTarget {
    // what the caller says inside is its own; to a peer's sidecar that is HTTP/1.1
    return { ...target, protocol: target.tls?.kind === "mesh" ? "http1" : "tcp" };
  }

  preface(): Uint8Array | null {
    const { x } = this;
    const version = x.service!.spec.proxyProtocol ?? null;
    if (version === null) return null;
    const { client, conn } = x;
    const serverName = client.tls?.serverName ?? null;
    return proxyHeader(version, { client, local: conn.local ?? null, serverName }, x.ownId);
  }

  attempting(endpoint: Endpoint, previous: string | null): void {
    const { x } = this;
    const number = this.reach!.attempts;
    x.attempts = number;
    x.endpoint = endpoint.address;
    const reply = runAttempt(x.chain, x, {
      number,
      service: endpoint.service,
      endpoint: endpoint.address,
      headers: x.req.headers,
      previous,
    });
    if (reply !== null) this.refuse(new ProxyError(reply.code ?? "plugin-error", reply.detail));
  }

  reached(error: ProxyError | null, upstream: Transport | null, rest: Buffer): void {
    if (upstream === null) return this.refuse(error!);
    const { x } = this;
    const taken = x.downstream.takeOver();
    if (taken === null) {
      upstream.destroy();
      return this.refuse(new ProxyError("client-closed", "the caller is gone"));
    }
    x.status = 200;
    x.stage = "responding";
    x.env.metrics.connection("upstream", 1);
    this.splice = new Splice(taken.transport, upstream, {
      spliced: (broken, cause) => this.spliced(broken, cause),
    });
    taken.transport.write(ESTABLISHED);
    this.splice.start(taken.rest, taken.hasEnded);
    if (rest.length > 0) this.splice.upstream.onData(rest);
  }

  private spliced(broken: Side | null, cause: Error | null): void {
    if (broken === null) return this.end("complete");
    const { x } = this;
    const who = broken === "downstream" ? "the caller" : (x.endpoint ?? "the endpoint");
    x.detail = `${who}: ${cause?.message ?? "closed"}`;
    this.end(broken === "downstream" ? "client-aborted" : "upstream-aborted");
  }

  private refuse(error: ProxyError): void {
    if (this.over) return;
    this.over = true;
    this.reach!.leave();
    const { x } = this;
    x.tunnel = null;
    fail(x, error);
    x.downstream.flush();
  }

  private end(how: DoneInfo["end"]): void {
    if (this.over) return;
    this.over = true;
    const { splice, x } = this;
    this.reach?.leave();
    if (splice !== null) {
      if (how !== "complete") splice.reset();
      x.requestBytes = splice.downstream.bytes;
      x.responseBytes = splice.upstream.bytes;
      x.env.metrics.connection("upstream", -1);
    }
    finish(x, how);
  }
}
