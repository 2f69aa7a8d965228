/** Every way in which an exchange ends too early, each as one function that provokes it once. */

import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";
import { within } from "../support/eventually.ts";
import type { MoodyOrigin } from "./moody-origin.ts";
import { streamAborts } from "./stream-aborts.ts";

/** Where to provoke. */
export interface Target {
  readonly port: number;
  /** Of the listener that speaks TLS. */
  readonly tlsPort: number;
  /** Of a TCP listener before the same origin, and of one that passes TLS on by its server name. */
  readonly rawPort: number;
  readonly passPort: number;
  readonly origin: MoodyOrigin;
}

/** Provokes one abort; resolves when both sides have let go of the caller's connection. */
export type Abort = (target: Target) => Promise<void>;

let ids = 0;

interface Call {
  readonly path: string;
  readonly method?: string;
  readonly host?: string;
  /** Whole lines. */
  readonly fields?: string;
  readonly body?: string;
}

function headOf(
  { path, method = "GET", host = "a.test", fields = "", body = "" }: Call,
  id: string,
): string {
  return `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nX-Id: ${id}\r\n${fields}\r\n${body}`;
}

function open(port: number): net.Socket {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("error", () => {});
  return socket;
}

const closed = (socket: net.Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
    socket.resume();
  });

/** Sends a request and reads until weft closes. */
export const untilClosed =
  (call: Call): Abort =>
  async ({ port }) => {
    const socket = open(port);
    const fields = `${call.fields ?? ""}${call.fields?.includes("Connection:") ? "" : "Connection: close\r\n"}`;
    socket.write(headOf({ ...call, fields }, ""));
    await closed(socket);
  };

/** Sends a request and resets once the origin has it. */
const resetOnArrival =
  (call: Call): Abort =>
  async ({ port, origin }) => {
    const id = String(++ids);
    const arrived = origin.arrival(id);
    const socket = open(port);
    socket.write(headOf(call, id));
    await Promise.race([arrived, closed(socket)]);
    origin.forget(id);
    socket.resetAndDestroy();
    await closed(socket);
  };

/** Sends a request and resets, or half-closes, once the first bytes of an answer are here. */
export const cutOnAnswer =
  (call: Call, cut: "reset" | "destroy" | "end"): Abort =>
  async ({ port }) => {
    const socket = open(port);
    socket.write(headOf(call, ""));
    await new Promise<void>((resolve) => {
      socket.once("data", () => resolve());
      socket.once("close", () => resolve());
    });
    if (cut === "reset") socket.resetAndDestroy();
    else if (cut === "destroy") socket.destroy();
    else socket.end();
    // what is half-closed in the middle of an answer goes on until somebody ends it
    if (cut === "end") socket.destroySoon();
    await closed(socket);
  };

/** Sends a part of a request and cuts. */
const cutAfter =
  (text: string, cut: "reset" | "end"): Abort =>
  async ({ port }) => {
    const socket = open(port);
    await new Promise<void>((resolve) => socket.write(text, () => resolve()));
    if (cut === "reset") socket.resetAndDestroy();
    else socket.end();
    await closed(socket);
  };

/** The same on the TLS port, in the clear: pieces of a handshake, or none. */
const cutHandshake =
  (bytes: Uint8Array): Abort =>
  async ({ tlsPort }) => {
    const socket = open(tlsPort);
    await new Promise<void>((resolve) => socket.write(bytes, () => resolve()));
    socket.resetAndDestroy();
    await closed(socket);
  };

/** The same kind at another port. */
const at =
  (port: "rawPort" | "passPort", abort: Abort): Abort =>
  (target) =>
    abort({ ...target, port: target[port], tlsPort: target[port] });

/** A whole handshake, a request for a stream, and away. */
const cutTls: Abort = async ({ tlsPort }) => {
  const socket = tls.connect({
    port: tlsPort,
    host: "127.0.0.1",
    servername: "a.test",
    rejectUnauthorized: false,
  });
  socket.on("error", () => {});
  socket.once("secureConnect", () => socket.write(headOf({ path: "/drip" }, "")));
  socket.once("data", () => socket.destroy());
  await closed(socket);
};

/** One HTTP/2 connection with five streams, whose answers have begun: each is reset, or all are cut with the connection. */
const cutStreams =
  (cut: "streams" | "connection"): Abort =>
  async ({ port }) => {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on("error", () => {});
    const gone = new Promise<void>((resolve) => session.once("close", () => resolve()));
    const streams = Array.from({ length: 5 }, () => {
      const stream = session.request({ ":path": "/drip", ":authority": "a.test" });
      stream.on("error", () => {});
      return stream;
    });
    const over = streams.map(
      (stream) => new Promise<void>((resolve) => stream.once("close", () => resolve())),
    );
    const begun = streams.map(
      (stream) => new Promise<void>((resolve) => stream.once("response", () => resolve())),
    );
    await Promise.race([Promise.all(begun), gone]);
    if (cut === "streams") {
      for (const stream of streams) stream.close(http2.constants.NGHTTP2_CANCEL);
      await Promise.all(over);
    }
    session.destroy();
    await gone;
  };

const chunks = "Transfer-Encoding: chunked\r\n";
const upgrade = `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${"A".repeat(22)}==\r\n`;
const upload = { method: "POST", fields: chunks, body: "5\r\nhello\r\n" };
const hello = Buffer.concat([Buffer.from("160301020001fc0303", "hex"), Buffer.alloc(100, 7)]);

/** Instances of the faulty plugin for each hook: see there. */
export const faultyInstances = 12;
/** Hooks that throw. */
export const faultyHooks = [
  "request",
  "requestBody",
  "attempt",
  "response",
  "responseBody",
  "done",
];

const faults = Object.fromEntries(
  faultyHooks.map((hook): [string, Abort] => [
    `a plugin throws in ${hook}`,
    (target) =>
      untilClosed({
        path: `/faulty/${hook}/${++ids % faultyInstances}/chunked`,
        method: "POST",
        fields: chunks,
        body: "5\r\nhello\r\n0\r\n\r\n",
      })(target),
  ]),
);

/** All kinds, by what happens. */
export const aborts: Readonly<Record<string, Abort>> = {
  "the caller connects and resets": cutAfter("", "reset"),
  "the caller connects and ends": cutAfter("", "end"),
  "the caller resets in its head": cutAfter("GET / HTTP/1.1\r\nHost: a.te", "reset"),
  "the caller ends in its head": cutAfter("GET / HTTP/1.1\r\nHost: a.te", "end"),
  "the caller resets in its body": resetOnArrival({ path: "/silent", ...upload }),
  "the caller ends in its body": async (target) =>
    cutAfter(headOf({ path: "/silent", ...upload }, ""), "end")(target),
  "the caller resets in a chunk's size": resetOnArrival({ path: "/silent", ...upload, body: "f" }),
  "the caller resets while the origin is silent": resetOnArrival({ path: "/silent" }),
  "the caller resets in the answer": cutOnAnswer({ path: "/part" }, "reset"),
  "the caller leaves in the answer": cutOnAnswer({ path: "/drip" }, "destroy"),
  "the caller pipelines and resets": cutOnAnswer(
    { path: "/ok", body: headOf({ path: "/silent" }, "").repeat(3) },
    "reset",
  ),
  "the caller sends a bad chunk": untilClosed({ path: "/silent", ...upload, body: "xyz\r\n" }),
  "the caller sends garbage": untilClosed({ path: "/ok", fields: "Bad Name: x\r\n" }),
  "the caller sends a long head": untilClosed({
    path: "/ok",
    fields: `X: ${"a".repeat(70_000)}\r\n`,
  }),
  "the caller names no route": untilClosed({ path: "/ok", host: "b.test" }),
  "the origin resets at once": untilClosed({ path: "/reset-at-once" }),
  "the origin closes at once": untilClosed({ path: "/close-at-once" }),
  "the origin resets in its head": untilClosed({ path: "/reset-in-head" }),
  "the origin closes in its head": untilClosed({ path: "/close-in-head" }),
  "the origin resets in its body": untilClosed({ path: "/reset-in-body" }),
  "the origin closes in its body": untilClosed({ path: "/close-in-body" }),
  "the origin closes in a chunk": untilClosed({ path: "/close-in-chunk" }),
  "the origin resets under an upload": untilClosed({ path: "/reset-at-once", ...upload }),
  "the origin speaks no HTTP": untilClosed({ path: "/garbage" }),
  "the origin gives two lengths": untilClosed({ path: "/two-lengths" }),
  "the origin answers twice": untilClosed({ path: "/excess" }),
  "the origin floods with 1xx": untilClosed({ path: "/flood" }),
  "the origin answers early": untilClosed({ path: "/early", ...upload }),
  "the caller resets after an early answer": cutOnAnswer({ path: "/early", ...upload }, "reset"),
  "the origin is away": untilClosed({ path: "/refused/x" }),
  "the service is empty": untilClosed({ path: "/empty/x" }),
  "two endpoints are tried in vain": untilClosed({ path: "/retried/unavailable" }),
  "two connections are lost": untilClosed({ path: "/retried/reset-at-once" }),
  "the route's time runs out": untilClosed({ path: "/hurried/silent" }),
  "the route's time runs out under an upload": untilClosed({
    path: "/hurried/silent",
    ...upload,
    body: "5\r\nhello\r\n0\r\n\r\n",
  }),
  "an attempt's time runs out": untilClosed({ path: "/tried/silent" }),
  "the answer stops moving": untilClosed({ path: "/stuck/part" }),
  "the exchange lasts too long": untilClosed({ path: "/total/part-chunk" }),
  "the caller resets before the switch": resetOnArrival({ path: "/silent", fields: upgrade }),
  "the caller resets in the tunnel": cutOnAnswer({ path: "/switch", fields: upgrade }, "reset"),
  "the caller ends the tunnel": cutOnAnswer({ path: "/switch", fields: upgrade }, "end"),
  "the origin resets the tunnel": untilClosed({ path: "/switch-and-reset", fields: upgrade }),
  "the origin ends the tunnel": untilClosed({ path: "/switch-and-end", fields: upgrade }),
  "the origin does not switch": untilClosed({ path: "/close-in-body", fields: upgrade }),
  "the caller says hello and resets": cutHandshake(hello),
  "the caller speaks plain HTTP to TLS": cutHandshake(Buffer.from("GET / HTTP/1.1\r\n\r\n")),
  "the caller leaves over TLS": cutTls,
  "the caller resets streams of HTTP/2": cutStreams("streams"),
  "the caller cuts a connection of HTTP/2": cutStreams("connection"),
  "the caller of a TCP listener resets in a stream": at(
    "rawPort",
    cutOnAnswer({ path: "/drip" }, "reset"),
  ),
  "the caller of a TCP listener ends a stream": at(
    "rawPort",
    cutOnAnswer({ path: "/part" }, "end"),
  ),
  "the caller of a TCP listener says nothing and resets": at("rawPort", cutAfter("", "reset")),
  "the endpoint of a TCP listener resets": at("rawPort", untilClosed({ path: "/reset-in-body" })),
  "the endpoint of a TCP listener ends": at("rawPort", untilClosed({ path: "/close-in-body" })),
  "the caller leaves TLS that is passed on": at("passPort", cutTls),
  "the caller says hello to a passed-on name and resets": at("passPort", cutHandshake(hello)),
  "the caller speaks plain HTTP where TLS is passed on": at(
    "passPort",
    untilClosed({ path: "/ok" }),
  ),
  "the caller resets in an answer that comes over TLS": cutOnAnswer(
    { path: "/secure/drip" },
    "reset",
  ),
  "the origin is cut in its answer over TLS": untilClosed({ path: "/secure/reset-in-body" }),
  "the origin closes in its head over TLS": untilClosed({ path: "/secure/close-in-head" }),
  "the origin's certificate is not trusted": untilClosed({ path: "/strange/ok" }),
  ...streamAborts,
  ...faults,
};

/** Runs `count` aborts, all kinds in turn, `width` at once. `onEach` may stop it by returning false. */
export async function provoke(
  target: Target,
  count: number,
  {
    width = 48,
    onEach = () => true,
    kinds: named = aborts,
  }: {
    width?: number;
    onEach?: (kind: string) => boolean;
    kinds?: Readonly<Record<string, Abort>>;
  } = {},
): Promise<void> {
  const kinds = Object.entries(named);
  let next = 0;
  let goesOn = true;
  const lane = async (): Promise<void> => {
    while (next < count && goesOn) {
      const [name, abort] = kinds[next++ % kinds.length]!;
      // a kind that hangs is named: that is a finding of its own
      await within(`the end of "${name}"`, abort(target), 60_000);
      goesOn &&= onEach(name);
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
}
