/** Ways in which streams of HTTP/2 end too early: plain, gRPC and WebSocket, in the clear and over TLS. */

import http2 from "node:http2";
import type { Abort, Target } from "./aborts.ts";

/** How the caller ends it. */
type End = "cancels" | "cuts" | "waits";

interface Wish {
  /** Default `a.test`. */
  readonly authority?: string;
  readonly path: string;
  readonly fields?: http2.OutgoingHttpHeaders;
  /** Sent, with the request left open; default: a request without a body. */
  readonly body?: string;
  /** Streams of the one connection; default 3. */
  readonly streams?: number;
  readonly isSecure?: boolean;
}

const asGrpc = { ":method": "POST", "content-type": "application/grpc", te: "trailers" };
const asWebSocket = { ":method": "CONNECT", ":protocol": "websocket" };
/** A message of gRPC that is promised and not whole. */
const half = "\0\0\0\0\x64half";

/** One connection: waits for what comes first of each stream's answer, or its end, and then ends as said. */
export const streams =
  (wish: Wish, end: End): Abort =>
  async ({ port, tlsPort }: Target) => {
    const session = wish.isSecure
      ? http2.connect(`https://127.0.0.1:${tlsPort}`, { rejectUnauthorized: false })
      : http2.connect(`http://127.0.0.1:${port}`);
    session.on("error", () => {});
    const gone = new Promise<void>((resolve) => session.once("close", () => resolve()));
    // an extended CONNECT may be sent once the other side has offered it
    const ready = new Promise<void>((resolve) => session.once("remoteSettings", () => resolve()));
    await Promise.race([ready, gone]);
    if (session.destroyed) return gone;
    const all = Array.from({ length: wish.streams ?? 3 }, () => {
      const stream = session.request(
        { ":path": wish.path, ":authority": wish.authority ?? "a.test", ...wish.fields },
        { endStream: wish.body === undefined },
      );
      stream.on("error", () => {});
      stream.resume();
      if (wish.body !== undefined) stream.write(wish.body);
      // half a stream stays until its other half has ended too
      stream.once("end", () => stream.end());
      return stream;
    });
    const over = all.map(
      (stream) => new Promise<void>((done) => stream.once("close", () => done())),
    );
    const begun = all.map(
      (stream) => new Promise<void>((done) => stream.once("response", () => done())),
    );
    const first = end === "waits" ? over : all.map((_, i) => Promise.race([begun[i], over[i]]));
    await Promise.race([Promise.all(first), gone]);
    if (end === "cancels") {
      for (const stream of all) stream.close(http2.constants.NGHTTP2_CANCEL);
      await Promise.race([Promise.all(over), gone]);
    }
    session.destroy();
    await gone;
  };

/** Sends requests and leaves before there can be an answer. */
const hurried =
  (wish: Wish): Abort =>
  async ({ port }: Target) => {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on("error", () => {});
    const gone = new Promise<void>((resolve) => session.once("close", () => resolve()));
    for (let i = 0; i < (wish.streams ?? 3); i++) {
      const stream = session.request({
        ":path": wish.path,
        ":authority": "a.test",
        ...wish.fields,
      });
      stream.on("error", () => {});
    }
    await new Promise<void>((resolve) => session.ping(() => resolve()));
    session.destroy();
    await gone;
  };

const call = (mood: string): Wish => ({ path: `/grpc/${mood}`, fields: asGrpc, body: half });
const secure = (wish: Wish): Wish => ({ ...wish, isSecure: true });
const webSocket = (mood: string): Wish => ({
  path: `/${mood}`,
  fields: asWebSocket,
  body: "hello",
});

/** All kinds, by what happens. */
export const streamAborts: Readonly<Record<string, Abort>> = {
  "the caller cancels streams over TLS": streams(secure({ path: "/drip" }), "cancels"),
  "the caller cuts a connection of HTTP/2 over TLS": streams(secure({ path: "/drip" }), "cuts"),
  "the caller leaves before its streams are answered": hurried({ path: "/silent" }),
  "the caller cuts an upload over HTTP/2": streams(
    { path: "/early", body: "x".repeat(9000), fields: { ":method": "POST" } },
    "cuts",
  ),
  "the origin resets under streams": streams({ path: "/reset-in-body" }, "waits"),
  "a stream's time runs out": streams({ path: "/hurried/silent" }, "waits"),
  "a gRPC call is cancelled": streams(call("drip"), "cancels"),
  "a gRPC call is cancelled over TLS": streams(secure(call("drip")), "cancels"),
  "a gRPC caller cuts its connection": streams(call("part"), "cuts"),
  "a gRPC caller leaves before there is an answer": hurried(call("silent")),
  "a gRPC call's deadline passes": streams(
    { ...call("silent"), path: "/grpc-hurried/silent", body: half },
    "waits",
  ),
  "a gRPC service resets a call": streams(call("reset-at-once"), "waits"),
  "a gRPC service resets a call in its stream": streams(call("reset-in-body"), "waits"),
  "a gRPC service refuses a stream": streams(call("refuse"), "waits"),
  "a gRPC service cuts its connection": streams({ ...call("cut-at-once"), streams: 1 }, "waits"),
  "a gRPC service cuts its connection in a stream": streams(
    { ...call("cut-in-body"), streams: 1 },
    "waits",
  ),
  "a gRPC service goes away": streams(call("goaway"), "waits"),
  "a gRPC service answers before the call is whole": streams(call("error"), "waits"),
  "a WebSocket over HTTP/2 is reset by its caller": streams(webSocket("switch"), "cancels"),
  "a WebSocket over HTTP/2 is cut with its connection": streams(webSocket("switch"), "cuts"),
  "a WebSocket over HTTP/2 is reset by the origin": streams(webSocket("switch-and-reset"), "waits"),
  "a WebSocket over HTTP/2 is ended by the origin": streams(webSocket("switch-and-end"), "waits"),
  "a WebSocket over HTTP/2 finds no switch": streams(webSocket("close-in-body"), "waits"),
};
