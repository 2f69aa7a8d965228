/** An upstream that understands nothing: it notes every byte and does what a script says. */

import net from "node:net";
import tls from "node:tls";
import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { ByteLog } from "./byte-log.ts";
import { patienceMs, within } from "./eventually.ts";
import { readMessage } from "./message.ts";
import type { Message } from "./message.ts";

/** One accepted connection. `text` is everything that weft sent on it. */
export class OriginConnection extends ByteLog {
  /** Position among the origin's connections, from 0. */
  readonly index: number;
  private at = 0;

  constructor(socket: net.Socket, index: number) {
    super(socket);
    this.index = index;
  }

  /** The next whole request. Null when the connection ends first. */
  async request(): Promise<Message | null> {
    const read = () => readMessage(this.text.slice(this.at));
    await this.until("a request", () => read() !== null || this.closed || this.ended).catch(
      (error: unknown) => {
        if (!this.closed) throw error;
      },
    );
    const message = read();
    if (message !== null) this.at += message.length;
    return message;
  }

  /** The next request head, without its body (what follows is read as `text`). Null when the connection ends first. */
  async head(): Promise<string | null> {
    const end = () => this.text.indexOf("\r\n\r\n", this.at);
    await this.until("a request head", () => end() !== -1 || this.closed || this.ended);
    if (end() === -1) return null;
    const head = this.text.slice(this.at, end() + 4);
    this.at += head.length;
    return head;
  }

  /** Forgets the requests that have been read. */
  forget(): void {
    this.text = this.text.slice(this.at);
    this.at = 0;
  }

  /** Writes latin1 text or bytes. */
  send(data: string | Uint8Array): void {
    this.socket.write(typeof data === "string" ? Buffer.from(data, "latin1") : data);
  }

  /** Writes byte by byte, each in a turn of the event loop of its own. */
  async sendBytes(data: string): Promise<void> {
    for (let i = 0; i < data.length && !this.closed; i++) {
      this.send(data.slice(i, i + 1));
      await turn();
    }
  }

  end(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }
}

/** What to do with a connection. Runs once for each; a throw is kept in `origin.failures`. */
export type Script = (connection: OriginConnection) => void | Promise<void>;

/** Options of {@link Origin.start}. */
export interface OriginOptions {
  /** Speak TLS with these options. */
  readonly tls?: tls.TlsOptions;
  readonly host?: string;
  readonly port?: number;
}

/** A listening origin; `script` may be replaced between requests. */
export class Origin {
  readonly server: net.Server;
  readonly connections: OriginConnection[] = [];
  readonly failures: unknown[] = [];
  script: Script;
  private waiters: { check: () => boolean; resolve: () => void }[] = [];

  private constructor(script: Script, options: OriginOptions) {
    this.script = script;
    const accept = (socket: net.Socket): void => {
      socket.setNoDelay(true);
      const connection = new OriginConnection(socket, this.connections.length);
      this.connections.push(connection);
      for (const event of ["data", "end", "close"]) socket.on(event, () => this.wake());
      this.wake();
      void Promise.resolve()
        .then(() => this.script(connection))
        .catch((error: unknown) => this.failures.push(error));
    };
    this.server =
      options.tls === undefined
        ? net.createServer({ allowHalfOpen: true, noDelay: true }, accept)
        : tls.createServer({ ...options.tls, allowHalfOpen: true } as tls.TlsOptions, accept);
  }

  /** Listens on a free loopback port. */
  static async start(
    script: Script = answering(() => ok("ok")),
    options: OriginOptions = {},
  ): Promise<Origin> {
    const origin = new Origin(script, options);
    origin.server.listen(options.port ?? 0, options.host ?? "127.0.0.1");
    await once(origin.server, "listening");
    return origin;
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Everything received, all connections together. */
  get text(): string {
    return this.connections.map((connection) => connection.text).join("");
  }

  /** Connections that weft has neither ended nor cut. */
  get open(): number {
    return this.connections.filter((connection) => !connection.closed && !connection.ended).length;
  }

  /** Resolves once `check` holds; looked at after every event of any connection. */
  async until(what: string, check: () => boolean): Promise<void> {
    if (check()) return;
    await within(
      what,
      new Promise<void>((resolve) => this.waiters.push({ check, resolve })),
      patienceMs,
    );
  }

  /** The connection with that index, once it has been accepted. */
  async connection(index = 0): Promise<OriginConnection> {
    await this.until(`connection ${index} at the origin`, () => this.connections.length > index);
    return this.connections[index]!;
  }

  /** Forgets the requests that were read: between cases that share an origin. Connections stay noted. */
  forgetRequests(): void {
    for (const connection of this.connections) connection.forget();
  }

  /** Forgets all connections: the next one has index 0. Open ones stay open, unlisted. */
  forget(): void {
    this.connections.length = 0;
    this.failures.length = 0;
  }

  /** Stops listening and cuts every connection. */
  async close(): Promise<void> {
    for (const connection of this.connections) connection.socket.destroy();
    if (this.server.listening) await new Promise((done) => this.server.close(done));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private wake(): void {
    const ready = this.waiters.filter((waiter) => waiter.check());
    this.waiters = this.waiters.filter((waiter) => !ready.includes(waiter));
    for (const waiter of ready) waiter.resolve();
  }
}

/** A script that answers every whole request with what `answer` gives. `count` is the request's number on its connection, from 1. */
export function answering(
  answer: (
    request: Message,
    count: number,
    connection: OriginConnection,
  ) => string | Uint8Array | null,
): Script {
  return async (connection) => {
    for (let count = 1; ; count++) {
      const request = await connection.request();
      if (request === null) {
        connection.end();
        return;
      }
      const text = answer(request, count, connection);
      if (text !== null) connection.send(text);
    }
  };
}

/** A 200 with that body and exact Content-Length. `fields`: whole lines, each ending with CRLF. */
export function ok(body: string, fields = ""): string {
  return `HTTP/1.1 200 OK\r\n${fields}Content-Length: ${Buffer.byteLength(body, "latin1")}\r\n\r\n${body}`;
}
