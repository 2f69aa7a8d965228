/** The handshake of a WebSocket with an endpoint of HTTP/1.1: an Upgrade, by http-proxy's `ws()` over a connection that weft has dialled. */

import http from "node:http";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import httpProxy from "http-proxy";
import type { TakenOver } from "../http/stream.ts";
import { requestHeadText } from "../http1/serialise.ts";
import type { OutgoingRequest } from "../http/stream.ts";
import type { Transport } from "../listen/transport.ts";
import type { Endpoint } from "../service/endpoint.ts";
import { TransportStream, type Released } from "./transport-stream.ts";

const proxy = httpProxy.createProxyServer({});
// errors are told to the callback of each ws() call; an event nobody hears would end the process
proxy.on("error", () => {});
/** Whose handshake it is, by the request and by the stream to the endpoint that http-proxy names in its events. */
const byRequest = new WeakMap<object, Handshake>();
const byStream = new WeakMap<object, Handshake>();
proxy.on("proxyReqWs", (sent, req) => byRequest.get(req)?.sending(sent));
proxy.on("open", (stream) => byStream.get(stream)?.switched());

/** Fields of an answer that refuses the upgrade which belong to the endpoint's connection. */
const ownFields = ["transfer-encoding", "keep-alive", "proxy-connection", "trailer", "upgrade"];

/** Who wants a tunnel. */
export interface HandshakeOwner {
  /** The endpoint's answer has begun: 101, or the status of a refusal. */
  answered(status: number): void;
  /** The caller's side is wanted for the answer; null: the caller is gone. */
  takeOver(): TakenOver | null;
  /** Bytes of a refusal went by. */
  moved(): void;
  /** The caller has its 101, and both sides are free: from here on bytes need no streams. */
  switched(downstream: Released, upstream: Released): void;
  /** No tunnel will come: the refusal has been sent, or a side is gone. Not after {@link switched}. */
  closed(): void;
  /** The endpoint gave no answer that can be understood. */
  failed(why: string): void;
}

/** One handshake: over with the first call of `switched` or `closed`, or when it is destroyed. */
export class Handshake {
  private readonly owner: HandshakeOwner;
  private readonly target: string;
  private readonly caller = new TransportStream();
  private readonly endpoint = new TransportStream();

  /** @param transport a connection to the endpoint, on which nothing has been sent */
  constructor(owner: HandshakeOwner, transport: Transport, target: string) {
    const { caller, endpoint } = this;
    this.owner = owner;
    this.target = target;
    byStream.set(endpoint, this);
    endpoint.bind(transport, Buffer.alloc(0), false);
    caller.onFirstWrite = () => {
      const taken = owner.takeOver();
      if (taken !== null) caller.bind(taken.transport, taken.rest, taken.hasEnded);
    };
    caller.onTraffic = endpoint.onTraffic = () => owner.moved();
    caller.onClosed = endpoint.onClosed = () => owner.closed();
  }

  start({ host, port }: Endpoint, request: OutgoingRequest): void {
    const { target, endpoint } = this;
    const agent = new http.Agent({ keepAlive: false });
    agent.createConnection = () => endpoint;
    const req = {
      method: "GET",
      url: target,
      httpVersion: "1.1",
      httpVersionMajor: 1,
      headers: headersOf(request),
    };
    byRequest.set(req, this);
    proxy.ws(
      req as unknown as IncomingMessage,
      this.caller as unknown as Socket,
      Buffer.alloc(0),
      {
        target: { protocol: "http:", host, hostname: host, port: String(port) } as never,
        agent,
        prependPath: false,
      },
      (error: Error) => this.owner.failed(error.message),
    );
  }

  /** Body bytes of a refusal that the caller was sent. */
  get bytesOut(): number {
    return this.caller.bytesOut;
  }

  /** @internal the request is about to be sent */
  sending(request: http.ClientRequest): void {
    const { owner } = this;
    // the target goes on byte for byte, whatever a join of URLs would make of it
    request.path = this.target;
    request.once("upgrade", () => owner.answered(101));
    request.once("response", (answer) => {
      // ws() writes these fields and then the decoded body: it is delimited by the close
      for (const name of ownFields) delete answer.headers[name];
      answer.headers.connection = "close";
      owner.answered(answer.statusCode ?? 502);
    });
  }

  /** @internal ws() has written the 101 and joined both streams */
  switched(): void {
    const { caller, endpoint, owner } = this;
    endpoint.unpipe(caller);
    caller.unpipe(endpoint);
    const downstream = caller.release();
    const upstream = endpoint.release();
    if (downstream !== null && upstream !== null) return owner.switched(downstream, upstream);
    downstream?.end.reset();
    upstream?.end.reset();
    owner.closed();
  }

  /** Lets go of the endpoint; the caller may be answered by somebody else. */
  leave(): void {
    this.endpoint.destroy();
  }

  /** Cuts both sides. */
  destroy(): void {
    this.endpoint.destroy();
    this.caller.destroy();
  }

  /** Sends the caller what is queued for it, and closes. */
  finish(): void {
    this.endpoint.destroy();
    this.caller.destroySoon();
  }
}

/** The outgoing head as http.request wants it; names as they came, repeated ones as lists. */
function headersOf(request: OutgoingRequest): Record<string, string | string[]> {
  const headers = Object.create(null) as Record<string, string | string[]>;
  for (const line of requestHeadText(request).split("\r\n").slice(1, -2)) {
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
