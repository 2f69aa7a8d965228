/** An origin whose last path element says how it fails, and that knows which of its connections are between requests. */

import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import type { Pair } from "../support/certificates.ts";

/** Over TLS the connection is cut without a goodbye. */
function reset(socket: net.Socket): void {
  if (socket instanceof tls.TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}

type Mood = (socket: net.Socket, request: string) => void;

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const switching =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
const part = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\npart";

/** What it does once it has a request's head. */
const moods: Readonly<Record<string, Mood>> = {
  ok: (socket) => socket.write(ok),
  chunked: (socket) =>
    socket.write(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
    ),
  silent: () => {},
  part: (socket) => socket.write(part),
  "part-chunk": (socket) =>
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\npart"),
  /** A stream without end: who writes to a caller that has left learns of it. */
  drip: (socket) => {
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    const dripping = setInterval(() => socket.write("4\r\ndrip\r\n"), 20);
    socket.once("close", () => clearInterval(dripping));
  },
  "reset-at-once": (socket) => reset(socket),
  "close-at-once": (socket) => socket.end(),
  "reset-in-head": (socket) => socket.write("HTTP/1.1 200 OK\r\nX-", () => reset(socket)),
  "close-in-head": (socket) => socket.end("HTTP/1.1 200 OK\r\nX-"),
  "reset-in-body": (socket) => socket.write(part, () => reset(socket)),
  "close-in-body": (socket) => socket.end(part),
  "close-in-chunk": (socket) =>
    socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\npart"),
  garbage: (socket) => socket.write("I do not speak HTTP\r\n\r\n"),
  "two-lengths": (socket) =>
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
  excess: (socket) => socket.write(`${ok}${ok}`),
  flood: (socket) => socket.write("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50)),
  unavailable: (socket) =>
    socket.write("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
  early: (socket) =>
    socket.write(
      "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ),
  switch: (socket) => socket.write(switching),
  "switch-and-reset": (socket) => socket.write(switching, () => reset(socket)),
  "switch-and-end": (socket) => socket.end(switching),
};

/** Moods that answer in whole and go on with the connection. */
const complete = new Set(["ok", "chunked", "unavailable"]);

/** A listening origin. */
export class MoodyOrigin {
  private readonly server: net.Server;
  private readonly sockets = new Map<net.Socket, "idle" | "busy">();
  private readonly raw = new Set<net.Socket>();
  /** Requests by the value of their `x-id`: whoever waits for one to arrive. */
  private readonly awaited = new Map<string, () => void>();

  private constructor(pair: Pair | null) {
    const serve = (socket: net.Socket): void => this.serve(socket);
    this.server =
      pair === null
        ? net.createServer({ noDelay: true, allowHalfOpen: true }, serve)
        : tls.createServer({ ...pair, noDelay: true, allowHalfOpen: true }, serve);
    this.server.on("tlsClientError", () => {});
    // handshakes that never end are connections too
    this.server.on("connection", (socket: net.Socket) => {
      this.raw.add(socket);
      socket.once("close", () => this.raw.delete(socket));
    });
  }

  /** @param pair speak TLS with it */
  static async start(pair: Pair | null = null): Promise<MoodyOrigin> {
    const origin = new MoodyOrigin(pair);
    origin.server.listen(0, "127.0.0.1");
    await once(origin.server, "listening");
    return origin;
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port;
  }

  get open(): number {
    return this.sockets.size;
  }

  /** Connections in the middle of a request. */
  get busy(): number {
    return [...this.sockets.values()].filter((state) => state === "busy").length;
  }

  /** Resolves when the request with that `x-id` is here. */
  arrival(id: string): Promise<void> {
    return new Promise((resolve) => this.awaited.set(id, resolve));
  }

  /** Forgets whoever still waits: their request was cut before it came. */
  forget(id: string): void {
    this.awaited.delete(id);
  }

  /** Closes what is open, and goes on listening. */
  hangUp(): void {
    for (const socket of [...this.sockets.keys(), ...this.raw]) socket.destroy();
  }

  async close(): Promise<void> {
    this.hangUp();
    await new Promise((done) => this.server.close(done));
  }

  private serve(socket: net.Socket): void {
    let text = "";
    this.sockets.set(socket, "idle");
    socket.on("error", () => {});
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("end", () => socket.end());
    let inBody = false;
    socket.on("data", (chunk: Buffer) => {
      if (this.sockets.get(socket) === "busy" && !inBody) return;
      text += chunk.latin1Slice();
      for (;;) {
        // a mood that answers in whole leaves its connection usable once the request's body, always chunked, is whole too
        const mark = inBody ? "0\r\n\r\n" : "\r\n\r\n";
        const end = text.indexOf(mark);
        if (end === -1) return;
        const head = text.slice(0, end + mark.length);
        text = text.slice(end + mark.length);
        if (inBody) {
          inBody = false;
          this.sockets.set(socket, "idle");
          continue;
        }
        const mood = /^[A-Z]+ \S*\/([a-z-]+)[? ]/.exec(head)?.[1] ?? "ok";
        inBody = complete.has(mood) && /^transfer-encoding/im.test(head);
        if (inBody || !complete.has(mood)) this.sockets.set(socket, "busy");
        const id = /^x-id: (.*)$/im.exec(head)?.[1]?.trim();
        if (id !== undefined) this.awaited.get(id)?.();
        moods[mood]?.(socket, head);
        if (!complete.has(mood)) return;
      }
    });
  }
}
