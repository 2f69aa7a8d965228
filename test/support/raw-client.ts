/** A client that sends exactly the bytes it is told, in the pieces it is told, and keeps all that comes back. */

import net from "node:net";
import tls from "node:tls";
import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { ByteLog } from "./byte-log.ts";
import { readMessage, statusOf } from "./message.ts";
import type { Message } from "./message.ts";

/** How a text is cut into writes: in one, byte by byte, or in two at a position. */
export type Pieces = "whole" | "bytes" | { readonly splitAt: number };

/** Options of {@link RawClient.connect}. */
export interface ConnectOptions {
  readonly host?: string;
  /** Speak TLS with these options; `rejectUnauthorized` defaults to false. */
  readonly tls?: tls.ConnectionOptions;
}

/** A raw connection to a proxy. */
export class RawClient extends ByteLog {
  /** Where the next answer begins in `text`. */
  private at = 0;

  /** Connects; half-open is allowed, so that the test decides when its side ends. */
  static async connect(port: number, options: ConnectOptions = {}): Promise<RawClient> {
    const host = options.host ?? "127.0.0.1";
    if (options.tls !== undefined) {
      const settings = {
        host,
        port,
        rejectUnauthorized: false,
        allowHalfOpen: true,
        ...options.tls,
      };
      const socket = tls.connect(settings as tls.ConnectionOptions);
      await once(socket, "secureConnect");
      return new RawClient(socket);
    }
    const socket = net.connect({ host, port, noDelay: true, allowHalfOpen: true });
    await once(socket, "connect");
    return new RawClient(socket);
  }

  /** Writes `data`; a string is latin1. Pieces are separated by turns of the event loop. */
  async send(data: string | Uint8Array, pieces: Pieces = "whole"): Promise<this> {
    const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
    if (pieces === "whole") {
      this.socket.write(bytes);
    } else if (pieces === "bytes") {
      for (let i = 0; i < bytes.length && !this.closed; i++) {
        this.socket.write(bytes.subarray(i, i + 1));
        await turn();
      }
    } else {
      this.socket.write(bytes.subarray(0, pieces.splitAt));
      for (let i = 0; i < 4; i++) await turn();
      if (!this.closed) this.socket.write(bytes.subarray(pieces.splitAt));
    }
    return this;
  }

  /** The next answer, 1xx included. Fails when the connection ends before it is whole. */
  async response(options: { readonly noBody?: boolean } = {}): Promise<Answer> {
    const read = () =>
      readMessage(this.text.slice(this.at), {
        ...options,
        ended: this.closed || (this.ended && this.error === null),
      });
    await this.until("an answer", () => read() !== null || this.closed);
    const message = read();
    if (message === null)
      throw new Error(
        `closed before a whole answer; got ${JSON.stringify(this.text.slice(this.at))}`,
      );
    this.at += message.length;
    return new Answer(message);
  }

  /** What arrived and was not read as an answer. */
  get rest(): string {
    return this.text.slice(this.at);
  }

  /** Sends FIN and goes on reading. */
  end(): void {
    this.socket.end();
  }

  /** Sends RST; over TLS the connection is cut without a goodbye. */
  reset(): void {
    if (this.socket instanceof tls.TLSSocket) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }

  destroy(): void {
    this.socket.destroy();
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** A whole answer as a test wants to see it. */
export class Answer {
  readonly message: Message;
  readonly status: number;
  readonly body: string;

  constructor(message: Message) {
    this.message = message;
    this.status = statusOf(message);
    this.body = message.body;
  }

  /** Joined value of a field; undefined when absent. */
  header(name: string): string | undefined {
    const found = this.message.fields.filter(([each]) => each.toLowerCase() === name.toLowerCase());
    return found.length === 0 ? undefined : found.map(([, value]) => value).join(", ");
  }

  /** The `code` of a problem+json answer; undefined for anything else. */
  get code(): string | undefined {
    if (this.header("content-type")?.startsWith("application/problem+json") !== true)
      return undefined;
    return (JSON.parse(this.body) as { code?: string }).code;
  }
}

/** Sends one text on a connection of its own and returns all bytes until the other side closes. */
export async function exchange(
  port: number,
  text: string,
  pieces: Pieces = "whole",
): Promise<string> {
  const client = await RawClient.connect(port);
  try {
    await client.send(text, pieces);
    return await client.untilEnded();
  } finally {
    client.destroy();
  }
}
