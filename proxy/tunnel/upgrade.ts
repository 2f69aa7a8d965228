/**
 * WebSockets: to endpoints of HTTP/2 that take it an extended CONNECT (RFC 8441), to all others an Upgrade, by http-proxy's
 * `ws()` over connections that weft dials itself, so that mTLS, balancing and limits hold.
 */

import { createHash } from "node:crypto";
import http from "node:http";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import httpProxy from "http-proxy";
import { fail, finish } from "../answer.ts";
import { ProxyError } from "../errors.ts";
import type { Exchange, Tunnel } from "../exchange.ts";
import type { ResponseHead } from "../http/head.ts";
import type { TunnelEnd } from "../http/stream.ts";
import { requestHeadText, responseHeadText } from "../http1/serialise.ts";
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
import { Splice, type Side } from "./splice.ts";
import { TransportStream } from "./transport-stream.ts";

const proxy = httpProxy.createProxyServer({});
// errors are told to the callback of each ws() call; an event nobody hears would end the process
proxy.on("error", () => {});
/** Whose handshake it is, by the request and by the stream to the endpoint that http-proxy names in its events. */
const byRequest = new WeakMap<object, Upgrade>();
const byStream = new WeakMap<object, Upgrade>();
proxy.on("proxyReqWs", (sent, req) => byRequest.get(req)?.sending(sent));
proxy.on("open", (stream) => byStream.get(stream)?.switched());

/** Fields of an answer that refuses the upgrade which belong to the endpoint's connection. */
const ownFields = ["transfer-encoding", "keep-alive", "proxy-connection", "trailer", "upgrade"];

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

class Upgrade implements Tunnel, ClientTunnelOwner {
  private readonly x: Exchange;
  private readonly head: OutgoingHead;
  private readonly caller = new TransportStream();
  private endpoint: Endpoint | null = null;
  private endpointStream: TransportStream | null = null;
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
    this.endpointStream?.destroy();
    if (this.splice === null) this.tunnel?.reset();
  }

  destroy(how: DoneInfo["end"]): void {
    if (this.over) return;
    this.abandon();
    const { x, caller, splice } = this;
    if (splice === null) {
      x.responseBytes = caller.bytesOut;
      caller.destroy();
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

  private connected(transport: Transport): void {
    const { x, caller } = this;
    const upstream = new TransportStream();
    this.endpointStream = upstream;
    byStream.set(upstream, this);
    upstream.bind(transport, Buffer.alloc(0), false);
    caller.onFirstWrite = () => this.takeOver();
    caller.onTraffic = upstream.onTraffic = () => {
      x.lastByteMs = x.env.now();
    };
    caller.onClosed = () => this.closed();
    upstream.onClosed = () => this.closed();
    if (this.isRefusedByPlugin()) return;
    const agent = new http.Agent({ keepAlive: false });
    agent.createConnection = () => upstream;
    const { host, port } = this.endpoint!;
    const req = {
      method: "GET",
      url: this.head.target,
      httpVersion: "1.1",
      httpVersionMajor: 1,
      headers: this.outgoingHeaders(),
    };
    byRequest.set(req, this);
    proxy.ws(
      req as unknown as IncomingMessage,
      caller as unknown as Socket,
      Buffer.alloc(0),
      {
        target: { protocol: "http:", host, hostname: host, port: String(port) } as never,
        agent,
        prependPath: false,
      },
      (error: Error) =>
        this.refuse(
          new ProxyError(
            "upstream-reset",
            `${this.endpoint?.address ?? host} did not answer the upgrade: ${error.message}`,
          ),
        ),
    );
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
    const { x, head } = this;
    this.tunnel = new ClientTunnel(stream, this);
    if (this.isRefusedByPlugin()) return;
    const { target, authority, drop, extra } = head;
    // RFC 8441 section 5: the stream is proof enough
    const fields = copyOf(x.req.headers);
    fields.delete("sec-websocket-key");
    stream.sendConnect(this.tunnel, { req: x.req, fields, target, authority, drop, extra });
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

  /** @internal the handshake is about to be sent */
  sending(request: http.ClientRequest): void {
    // the target goes on byte for byte, whatever a join of URLs would make of it
    request.path = this.head.target;
    request.once("upgrade", () => this.answered(101));
    request.once("response", (answer) => {
      // ws() writes these fields and then the decoded body: it is delimited by the close
      for (const name of ownFields) delete answer.headers[name];
      answer.headers.connection = "close";
      this.answered(answer.statusCode ?? 502);
    });
  }

  /** @internal the caller has its 101, and both streams are joined: from here on their bytes need no streams */
  switched(): void {
    const { x, caller, endpointStream } = this;
    if (this.over) return;
    endpointStream!.unpipe(caller);
    caller.unpipe(endpointStream!);
    const downstream = caller.release();
    const upstream = endpointStream!.release();
    if (downstream === null || upstream === null) {
      downstream?.end.reset();
      upstream?.end.reset();
      return this.destroy("client-aborted");
    }
    x.env.metrics.connection("upstream", 1);
    const splice = this.join(downstream.end, upstream.end);
    splice.start(downstream.rest, downstream.hasEnded);
    if (upstream.rest.length > 0) splice.upstream.onData(upstream.rest);
    if (upstream.hasEnded) splice.upstream.onEnd();
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

  /** The outgoing head as http.request wants it; names as they came, repeated ones as lists. */
  private outgoingHeaders(): Record<string, string | string[]> {
    const { x, head } = this;
    const { target, authority, drop, extra } = head;
    const text = requestHeadText({
      req: x.req,
      fields: x.req.headers,
      target,
      authority,
      drop,
      extra,
    });
    const headers: Record<string, string | string[]> = Object.create(null) as Record<
      string,
      string | string[]
    >;
    for (const line of text.split("\r\n").slice(1, -2)) {
      const colon = line.indexOf(":");
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 1).trim();
      const before = headers[name];
      headers[name] =
        before === undefined
          ? value
          : typeof before === "string"
            ? [before, value]
            : [...before, value];
    }
    headers["connection"] = "Upgrade";
    headers["upgrade"] = "websocket";
    return headers;
  }

  private answered(status: number): void {
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

  private takeOver(): void {
    const taken = this.x.downstream.takeOver();
    if (taken === null) return;
    this.taken = true;
    this.caller.bind(taken.transport, taken.rest, taken.hasEnded);
  }

  private refuse(error: ProxyError): void {
    if (this.over) return;
    if (this.taken) return this.closed();
    this.over = true;
    this.leaveEndpoint("failure");
    this.endpointStream?.destroy();
    this.tunnel?.reset();
    this.x.tunnel = null;
    fail(this.x, error);
    this.x.downstream.flush();
  }

  /** The service has refused, and its answer is sent; or one side is gone before there was one. */
  private closed(): void {
    if (this.over) return;
    this.over = true;
    const { x } = this;
    x.responseBytes = this.caller.bytesOut;
    this.leaveEndpoint("cancelled");
    this.endpointStream?.destroy();
    if (this.taken) {
      // what the endpoint sent last is still on its way to the caller
      if (!this.caller.writableEnded) this.caller.end();
      finish(x, "complete");
    } else this.refuseLate();
  }

  private refuseLate(): void {
    this.x.tunnel = null;
    fail(
      this.x,
      new ProxyError(
        "upstream-reset",
        `${this.x.endpoint ?? "the endpoint"} closed the connection before answering the upgrade`,
      ),
    );
    this.x.downstream.flush();
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
