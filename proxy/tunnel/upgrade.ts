/**
 * WebSockets: to endpoints of HTTP/2 that take it by an extended CONNECT (RFC 8441), to all others by an Upgrade of
 * HTTP/1.1, and then bytes both ways. Connections are weft's own, so that mTLS, balancing and limits hold.
 */

import { createHash } from "node:crypto";
import { fail, finish } from "../answer.ts";
import { ProxyError } from "../errors.ts";
import type { Exchange, Tunnel } from "../exchange.ts";
import type { Fields } from "../http/fields.ts";
import type { ResponseHead } from "../http/head.ts";
import type { OutgoingRequest, TakenOver, TunnelEnd } from "../http/stream.ts";
import { responseHeadText } from "../http1/serialise.ts";
import { releaseArrays } from "../http1/scan.ts";
import type { ClientStream } from "../http2/client-stream.ts";
import { ClientTunnel, type ClientTunnelOwner } from "../http2/client-tunnel.ts";
import type { Transport } from "../listen/transport.ts";
import type { DoneInfo } from "../pipeline/plugin.ts";
import { runAttempt } from "../pipeline/run.ts";
import type { Endpoint } from "../service/endpoint.ts";
import { copyOf, type OutgoingHead } from "../upstream/forward.ts";
import type { DialTarget } from "../upstream/connect.ts";
import { poolOf } from "../upstream/endpoint-pool.ts";
import { Http2Pool } from "../upstream/http2-pool.ts";
import { Handshake, type HandshakeOwner } from "./handshake.ts";
import { Splice, type Side } from "./splice.ts";
import type { Released } from "./transport-stream.ts";

/**
 * True for the one protocol that tunnels; an Upgrade to any other is dropped, and the request goes on without it. So it
 * does with a body: two parsers may differ on whether its bytes come before the tunnel's or belong to them.
 */
export function isWebSocket(x: Exchange): boolean {
  return (
    x.req.upgrade !== null &&
    (x.req.framing === "none" || x.req.contentLength === 0) &&
    x.req.upgrade.toLowerCase() === "websocket" &&
    x.req.method === "GET" &&
    x.req.version >= 11
  );
}

/** Makes an upgrade ready; it starts once the bytes of this turn have been kept. */
export function prepareTunnel(x: Exchange, head: OutgoingHead): Tunnel {
  return new Upgrade(x, head);
}

class Upgrade implements Tunnel, HandshakeOwner, ClientTunnelOwner {
  private readonly x: Exchange;
  private readonly head: OutgoingHead;
  private endpoint: Endpoint | null = null;
  /** Under way with an endpoint of HTTP/1.1; null once it is done. */
  private handshake: Handshake | null = null;
  /** The endpoint's side, when it is a stream of HTTP/2. */
  private tunnel: ClientTunnel | null = null;
  /** What the handshake has become. */
  private splice: Splice | null = null;
  private dialling: { cancel(): void } | null = null;
  private tried = new Set<Endpoint>();
  private startedMs = 0;
  private started = false;
  private taken = false;
  private over = false;

  constructor(x: Exchange, head: OutgoingHead) {
    this.x = x;
    this.head = head;
  }

  start(): void {
    if (this.started || this.over) return;
    this.started = true;
    const { service, env } = this.x;
    service!.budget.request(env.now());
    this.dial();
  }

  takeMoved(): boolean {
    return this.splice?.takeMoved() ?? false;
  }

  abandon(): void {
    if (this.over) return;
    this.over = true;
    this.dialling?.cancel();
    this.leaveEndpoint(this.x.code === "deadline-exceeded" ? "failure" : "cancelled");
    this.handshake?.leave();
    if (this.splice === null) this.tunnel?.reset();
  }

  destroy(how: DoneInfo["end"]): void {
    if (this.over) return;
    this.abandon();
    const { x, handshake, splice } = this;
    if (splice === null) {
      x.responseBytes = handshake?.bytesOut ?? 0;
      handshake?.destroy();
    } else {
      if (how !== "complete") splice.reset();
      x.requestBytes = splice.downstream.bytes;
      x.responseBytes = splice.upstream.bytes;
      if (this.tunnel === null) x.env.metrics.connection("upstream", -1);
    }
    finish(x, how);
  }

  private dial(): void {
    const { x } = this;
    const nowMs = x.env.now();
    const endpoint = x.service!.pick(this.tried, nowMs);
    if (typeof endpoint === "string") {
      return this.refuse(
        new ProxyError(
          endpoint,
          `service ${x.service!.name} has no ${endpoint === "no-endpoint" ? "" : "usable "}endpoint`,
        ),
      );
    }
    x.attempts++;
    x.endpoint = endpoint.address;
    endpoint.active++;
    this.endpoint = endpoint;
    this.startedMs = nowMs;
    const pool = poolOf(endpoint, x.env, x.req);
    if (!(pool instanceof Http2Pool)) return this.dialHttp1(endpoint);
    const { connectTimeoutMs } = x.policy!;
    let isOpen = false;
    const opening = pool.openTunnel(endpoint.target, connectTimeoutMs, (error, stream) => {
      isOpen = true;
      this.dialling = null;
      if (this.over) stream?.cancel();
      else if (error !== null) this.dialFailed(error);
      else if (stream === null) this.dialHttp1(endpoint);
      else this.connect(stream);
    });
    if (!isOpen) this.dialling = opening;
  }

  /** Whatever else the endpoint speaks. */
  private dialHttp1(endpoint: Endpoint): void {
    const { x } = this;
    const target: DialTarget = { ...endpoint.target, protocol: "http1" };
    this.dialling = x.env.dial(
      target,
      { timeoutMs: x.policy!.connectTimeoutMs },
      (error, transport) => {
        this.dialling = null;
        if (this.over) transport?.destroy();
        else if (transport === null) this.dialFailed(error!);
        else this.connected(transport);
      },
    );
  }

  private dialFailed(error: ProxyError): void {
    const { x } = this;
    x.env.metrics.attempt(x.service!.name, this.endpoint!.address, error.code);
    this.tried.add(this.endpoint!);
    this.leaveEndpoint("failure");
    const { retry } = x.policy!;
    if (
      x.attempts <= retry.attempts &&
      retry.on.has("connect-failure") &&
      x.service!.budget.takeRetry(retry, x.env.now())
    ) {
      x.env.metrics.retry(x.service!.name, "connect-failure");
      return this.dial();
    }
    this.refuse(error);
  }

  private isRefusedByPlugin(): boolean {
    const { x } = this;
    if (x.chain?.attempt == null) return false;
    const reply = runAttempt(x.chain, x, {
      number: x.attempts,
      service: x.service!.name,
      endpoint: this.endpoint!.address,
      headers: x.req.headers,
      previous: null,
    });
    if (reply === null) return false;
    this.refuse(new ProxyError(reply.code ?? "plugin-error", reply.detail));
    return true;
  }

  // === over HTTP/2 ===

  private connect(stream: ClientStream): void {
    this.tunnel = new ClientTunnel(stream, this);
    if (this.isRefusedByPlugin()) return;
    // RFC 8441 section 5: the stream is proof enough
    const fields = copyOf(this.x.req.headers);
    fields.delete("sec-websocket-key");
    stream.sendConnect(this.tunnel, this.request(fields));
  }

  tunnelAnswered(head: ResponseHead): void {
    const { x } = this;
    const isSwitch = head.status >= 200 && head.status < 300;
    this.answered(isSwitch ? 101 : head.status);
    const taken = x.downstream.takeOver();
    if (taken === null) return this.destroy("client-aborted");
    this.taken = true;
    if (isSwitch) {
      head.status = 101;
      const key = x.req.headers.get("sec-websocket-key") ?? "";
      const more = `connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${acceptOf(key)}\r\n`;
      taken.transport.write(responseHeadText(head, "none", false, false, more));
    } else taken.transport.write(responseHeadText(head, "close", true, false, ""));
    releaseArrays(head.headers);
    this.join(taken.transport, this.tunnel!).start(taken.rest, taken.hasEnded);
  }

  tunnelFailed(error: ProxyError): void {
    this.refuse(error);
  }

  // === over HTTP/1.1 ===

  private connected(transport: Transport): void {
    this.handshake = new Handshake(this, transport, this.head.target);
    if (this.isRefusedByPlugin()) return;
    this.handshake.start(this.endpoint!, this.request(this.x.req.headers));
  }

  moved(): void {
    this.x.lastByteMs = this.x.env.now();
  }

  takeOver(): TakenOver | null {
    const taken = this.x.downstream.takeOver();
    this.taken = taken !== null;
    return taken;
  }

  switched(downstream: Released, upstream: Released): void {
    this.handshake = null;
    this.x.env.metrics.connection("upstream", 1);
    const splice = this.join(downstream.end, upstream.end);
    splice.start(downstream.rest, downstream.hasEnded);
    if (upstream.rest.length > 0) splice.upstream.onData(upstream.rest);
    if (upstream.hasEnded) splice.upstream.onEnd();
  }

  failed(why: string): void {
    const message = `${this.endpoint?.address ?? "the endpoint"} did not answer the upgrade: ${why}`;
    this.refuse(new ProxyError("upstream-reset", message));
  }

  closed(): void {
    if (this.over) return;
    this.over = true;
    const { x, handshake } = this;
    this.leaveEndpoint("cancelled");
    if (this.taken) {
      x.responseBytes = handshake?.bytesOut ?? 0;
      // what the endpoint sent last is still on its way to the caller
      handshake?.finish();
      return finish(x, "complete");
    }
    handshake?.leave();
    const who = x.endpoint ?? "the endpoint";
    this.answerWith(
      new ProxyError("upstream-reset", `${who} closed the connection before answering the upgrade`),
    );
  }

  // === either way ===

  private request(fields: Fields): OutgoingRequest {
    const { target, authority, drop, extra } = this.head;
    return { req: this.x.req, fields, target, authority, drop, extra };
  }

  private join(downstream: TunnelEnd, upstream: TunnelEnd): Splice {
    const owner = {
      spliced: (broken: Side | null, cause: Error | null) => this.spliced(broken, cause),
    };
    return (this.splice = new Splice(downstream, upstream, owner));
  }

  private spliced(broken: Side | null, cause: Error | null): void {
    if (broken === null) return this.destroy("complete");
    const { x } = this;
    const who = broken === "downstream" ? "the caller" : (x.endpoint ?? "the endpoint");
    x.detail = `${who}: ${cause?.message ?? "closed"}`;
    this.destroy(broken === "downstream" ? "client-aborted" : "upstream-aborted");
  }

  answered(status: number): void {
    const { x } = this;
    x.status = status;
    x.stage = "responding";
    const nowMs = x.env.now();
    x.env.metrics.attempt(
      x.service!.name,
      this.endpoint!.address,
      status === 101 ? "1xx" : `${Math.floor(status / 100)}xx`,
    );
    x.service!.report(
      this.endpoint!,
      status >= 500 ? "failure" : "success",
      nowMs - this.startedMs,
      nowMs,
    );
    this.startedMs = -1;
  }

  private refuse(error: ProxyError): void {
    if (this.over) return;
    if (this.taken) return this.closed();
    this.over = true;
    this.leaveEndpoint("failure");
    this.handshake?.leave();
    this.tunnel?.reset();
    this.answerWith(error);
  }

  private answerWith(error: ProxyError): void {
    const { x } = this;
    x.tunnel = null;
    fail(x, error);
    x.downstream.flush();
  }

  private leaveEndpoint(outcome: "failure" | "cancelled"): void {
    const { endpoint, x } = this;
    if (endpoint === null) return;
    this.endpoint = null;
    endpoint.active--;
    if (this.startedMs >= 0)
      x.service!.report(endpoint, outcome, x.env.now() - this.startedMs, x.env.now());
  }
}

/** RFC 6455 section 4.2.2. */
function acceptOf(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}
