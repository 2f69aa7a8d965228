/** Callers who ask without pause, on kept connections and on one for each request, and notice every answer they do not get. */

import net from "node:net";
import tls from "node:tls";

/** Who asks. */
export interface CallersOptions {
  readonly port: number;
  /** Speak TLS with these options; certificates are not checked. */
  readonly tls?: tls.ConnectionOptions;
  /** Callers that keep their connection; default 4. */
  readonly kept?: number;
  /** Callers that open a connection for each request; default 4. */
  readonly single?: number;
  /** Default `/`. */
  readonly path?: string;
  /** Default `a`. */
  readonly host?: string;
}

/** What came of it. */
export interface Toll {
  readonly asked: number;
  /** Whoever had a connection and did not get a whole 200 on it, each in words. */
  readonly failed: readonly string[];
  /** Connections that were never made: nobody listened. */
  readonly refused: number;
}

/** Ask until stopped. */
export class Callers implements AsyncDisposable {
  asked = 0;
  readonly failed: string[] = [];
  refused = 0;
  private readonly options: CallersOptions;
  private readonly all: Promise<unknown>;
  private isOver = false;

  private constructor(options: CallersOptions) {
    this.options = options;
    const { kept = 4, single = 4 } = options;
    const lanes = [
      ...Array.from({ length: kept }, () => this.lane("kept")),
      ...Array.from({ length: single }, () => this.lane("single")),
    ];
    this.all = Promise.all(lanes);
  }

  static start(options: CallersOptions): Callers {
    return new Callers(options);
  }

  /** Lets everybody finish the request at hand. */
  async stop(): Promise<Toll> {
    this.isOver = true;
    await this.all;
    const { asked, failed, refused } = this;
    return { asked, failed, refused };
  }

  /** Resolves when `count` more answers than now are here. */
  async more(count: number): Promise<void> {
    const wanted = this.asked + count;
    while (this.asked < wanted) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** A new connection whenever there is none; ends with the first that is refused. */
  private async lane(kind: "kept" | "single"): Promise<void> {
    const { path = "/", host = "a" } = this.options;
    const end = kind === "single" ? "Connection: close\r\n" : "";
    const request = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${end}\r\n`;
    while (!this.isOver) {
      const connection = await Connection.open(this.options);
      if (typeof connection === "string") {
        if (connection === "refused") return void this.refused++;
        this.failed.push(`${kind}: ${connection}`);
        continue;
      }
      do {
        this.asked++;
        const problem = await connection.ask(request);
        if (problem !== null) this.failed.push(`${kind}: ${problem}`);
      } while (!this.isOver && connection.isUsable);
      await connection.close();
    }
  }
}

/** One connection, one request after the other. */
class Connection {
  /** False once the server has said, or shown, that it is the end. */
  isUsable = true;
  private readonly socket: net.Socket;
  private text = "";
  private error = "";
  private isClosed = false;
  private wake: () => void = () => {};

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on(
      "error",
      (error: NodeJS.ErrnoException) => (this.error = error.code ?? error.message),
    );
    socket.on("data", (chunk: Buffer) => {
      this.text += chunk.latin1Slice();
      this.wake();
    });
    socket.on("end", () => (this.isUsable = false));
    socket.on("close", () => {
      this.isUsable = false;
      this.isClosed = true;
      this.wake();
    });
  }

  /** A connection, `refused`, or what went wrong. */
  static open(options: CallersOptions): Promise<Connection | string> {
    const { port, tls: secure } = options;
    const to = { port, host: "127.0.0.1" };
    const socket =
      secure === undefined
        ? net.connect({ ...to, noDelay: true })
        : tls.connect({ ...to, rejectUnauthorized: false, ...secure });
    const connection = new Connection(socket);
    return new Promise((resolve) => {
      socket.once(secure === undefined ? "connect" : "secureConnect", () => resolve(connection));
      socket.once("close", () =>
        resolve(connection.error === "ECONNREFUSED" ? "refused" : `opening: ${connection.reason}`),
      );
    });
  }

  /** Null, or why there was no whole 200. */
  async ask(request: string): Promise<string | null> {
    this.text = "";
    this.socket.write(request, "latin1");
    for (;;) {
      const head = this.text.indexOf("\r\n\r\n");
      if (head !== -1) {
        const length = Number(/^content-length: *(\d+)/im.exec(this.text)?.[1] ?? NaN);
        if (this.text.length >= head + 4 + length) return this.verdict(head);
      }
      if (this.isClosed) return `${this.reason} after ${JSON.stringify(this.text.slice(0, 200))}`;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  /** Resolves when it is gone: the server's own end is waited for where it has announced one. */
  async close(): Promise<void> {
    this.socket.end();
    while (!this.isClosed) await new Promise<void>((resolve) => (this.wake = resolve));
  }

  private verdict(head: number): string | null {
    if (/^connection: *close/im.test(this.text.slice(0, head + 2))) this.isUsable = false;
    return this.text.startsWith("HTTP/1.1 200 ") ? null : this.text.slice(0, 200);
  }

  private get reason(): string {
    return this.error === "" ? "closed" : this.error;
  }
}
