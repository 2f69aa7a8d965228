/** Services whose answers never end by themselves: event streams over HTTP/1.1 and HTTP/2, and WebSockets that echo. */

import { once } from "node:events";
import http2 from "node:http2";
import net from "node:net";
import type { AddressInfo } from "node:net";

const streaming = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
const switching =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/** Both services on loopback ports of their own. */
export class Origins {
  private readonly one: net.Server;
  private readonly two: http2.Http2Server;
  private readonly sessions = new Set<http2.ServerHttp2Session>();
  private readonly sockets = new Set<net.Socket>();
  /** Event streams that are open, by what writes to them. */
  private readonly streams = new Set<{ send(text: string): void; end(): void }>();

  private constructor() {
    this.one = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) =>
      this.accept(socket),
    );
    this.two = http2.createServer({
      settings: { initialWindowSize: 1024 * 1024 },
      peerMaxConcurrentStreams: 1000,
    });
    this.two.on("session", (session) => {
      this.sessions.add(session);
      session.on("close", () => this.sessions.delete(session));
      session.on("error", () => {});
    });
    this.two.on("stream", (stream: http2.ServerHttp2Stream) => {
      stream.on("error", () => {});
      stream.respond({ ":status": 200, "content-type": "text/event-stream" });
      const sender = {
        send: (text: string) => void stream.write(text),
        end: () => void stream.end(),
      };
      this.streams.add(sender);
      stream.on("close", () => this.streams.delete(sender));
      sender.send("data: 0\n\n");
    });
  }

  static async start(): Promise<Origins> {
    const origins = new Origins();
    for (const server of [origins.one, origins.two]) {
      server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 });
      await once(server, "listening");
    }
    return origins;
  }

  /** Speaks HTTP/1.1, WebSocket included. */
  get port1(): number {
    return (this.one.address() as AddressInfo).port;
  }

  /** Speaks HTTP/2 by prior knowledge. */
  get port2(): number {
    return (this.two.address() as AddressInfo).port;
  }

  /** Event streams that are open. */
  get open(): number {
    return this.streams.size;
  }

  private accept(socket: net.Socket): void {
    this.sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.sockets.delete(socket));
    let head = "";
    const read = (chunk: Buffer): void => {
      head += chunk.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end === -1) return;
      socket.off("data", read);
      if (/^upgrade: websocket\r$/im.test(head)) {
        socket.write(switching);
        if (end + 4 < head.length) socket.write(head.slice(end + 4), "latin1");
        socket.on("data", (bytes) => socket.write(bytes));
        socket.on("end", () => socket.end());
      } else this.stream(socket);
    };
    socket.on("data", read);
  }

  private stream(socket: net.Socket): void {
    const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
    const sender = {
      send: (text: string) => void socket.write(chunk(text)),
      end: () => void socket.end("0\r\n\r\n"),
    };
    this.streams.add(sender);
    socket.on("close", () => this.streams.delete(sender));
    socket.on("end", () => socket.end());
    socket.on("data", () => {});
    socket.write(`${streaming}Transfer-Encoding: chunked\r\n\r\n${chunk("data: 0\n\n")}`);
  }

  /** One event on every stream. */
  tick(number: number): void {
    for (const stream of this.streams) stream.send(`data: ${number}\n\n`);
  }

  /** Ends every stream as a service does that has said everything. */
  finish(): void {
    for (const stream of this.streams) stream.end();
  }

  async stop(): Promise<void> {
    for (const session of this.sessions) session.destroy();
    for (const socket of this.sockets) socket.destroy();
    await Promise.all(
      [this.one, this.two].map((server) => new Promise<void>((done) => server.close(() => done()))),
    );
  }
}
