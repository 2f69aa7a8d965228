/** An origin of HTTP/2 whose last path element says how each stream fails. */

import { once } from "node:events";
import http2 from "node:http2";
import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";

type Mood = (stream: ServerHttp2Stream) => void;

const grpc = { ":status": 200, "content-type": "application/grpc" };
/** One message of five bytes, as gRPC frames it. */
const message = Buffer.from([0, 0, 0, 0, 5, 104, 101, 108, 108, 111]);

const moods: Readonly<Record<string, Mood>> = {
  silent: () => {},
  /** Messages without end. */
  drip: (stream) => {
    stream.respond(grpc);
    const dripping = setInterval(() => stream.write(message), 20);
    stream.once("close", () => clearInterval(dripping));
  },
  part: (stream) => {
    stream.respond(grpc);
    stream.write(message);
  },
  "reset-at-once": (stream) => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
  refuse: (stream) => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM),
  "reset-in-body": (stream) => {
    stream.respond(grpc);
    stream.write(message, () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR));
  },
  "cut-in-body": (stream) => {
    stream.respond(grpc);
    stream.write(message, () => stream.session?.destroy());
  },
  "cut-at-once": (stream) => stream.session?.destroy(),
  goaway: (stream) => {
    stream.session?.goaway();
    stream.respond(grpc);
    stream.end(message);
  },
  /** A gRPC error: trailers only. */
  error: (stream) => stream.respond({ ...grpc, "grpc-status": "13" }, { endStream: true }),
  early: (stream) => stream.respond({ ":status": 413 }, { endStream: true }),
};

/** A listening origin. */
export class StreamOrigin {
  private readonly server: http2.Http2Server;
  private readonly sessions = new Set<ServerHttp2Session>();

  private constructor() {
    this.server = http2.createServer();
    this.server.on("session", (session) => {
      this.sessions.add(session);
      session.on("error", () => {});
      session.once("close", () => this.sessions.delete(session));
    });
    this.server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      stream.resume();
      const mood = String(headers[":path"]).split("/").at(-1)!;
      (moods[mood] ?? moods["error"]!)(stream as ServerHttp2Stream);
    });
  }

  static async start(): Promise<StreamOrigin> {
    const origin = new StreamOrigin();
    origin.server.listen(0, "127.0.0.1");
    await once(origin.server, "listening");
    return origin;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Closes what is open, and goes on listening. */
  hangUp(): void {
    for (const session of this.sessions) session.destroy();
  }

  async close(): Promise<void> {
    this.hangUp();
    await new Promise((done) => this.server.close(done));
  }
}
