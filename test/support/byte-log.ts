/** Everything that arrived on a socket, as one latin1 text, and waiting for parts of it. */

import type net from "node:net";
import { within } from "./eventually.ts";

interface Waiter {
  readonly check: () => boolean;
  readonly resolve: () => void;
}

/** Notes every byte of a socket and how it ended. */
export class ByteLog {
  readonly socket: net.Socket;
  /** All bytes so far, one character each. */
  text = "";
  /** The other side sent FIN. */
  ended = false;
  /** The socket is gone. */
  closed = false;
  /** `ECONNRESET` and the like; null for an orderly end. */
  error: NodeJS.ErrnoException | null = null;
  private waiters: Waiter[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.error = error;
    });
    socket.on("data", (chunk: Buffer) => {
      this.text += chunk.toString("latin1");
      this.wake();
    });
    socket.on("end", () => {
      this.ended = true;
      this.wake();
    });
    socket.on("close", () => {
      this.closed = true;
      this.wake();
    });
  }

  /** Resolves once `check` holds; looked at after every event of the socket, and when {@link wake} is called. */
  async until(what: string, check: () => boolean): Promise<void> {
    if (check()) return;
    const promise = new Promise<void>((resolve) => this.waiters.push({ check, resolve }));
    try {
      await within(what, promise);
    } catch (error) {
      const state = `closed ${this.closed}, ended ${this.ended}, error ${this.error?.code ?? "none"}`;
      throw new Error(
        `${(error as Error).message}; got ${JSON.stringify(this.text.slice(-2000))} (${state})`,
        {
          cause: error,
        },
      );
    }
  }

  /** Resolves when the text contains `part` (after position `from`), with the position behind it. */
  async has(part: string, from = 0): Promise<number> {
    await this.until(JSON.stringify(part), () => this.text.includes(part, from) || this.closed);
    const at = this.text.indexOf(part, from);
    if (at === -1)
      throw new Error(`closed without ${JSON.stringify(part)}; got ${JSON.stringify(this.text)}`);
    return at + part.length;
  }

  /** Resolves when at least `count` bytes have arrived. */
  bytes(count: number): Promise<void> {
    return this.until(`${count} bytes`, () => this.text.length >= count);
  }

  /** Resolves when the socket is gone, in whatever way; what had arrived is in `text`. */
  async untilClosed(): Promise<string> {
    await this.until("the connection to close", () => this.closed);
    return this.text;
  }

  /** Resolves when the other side has sent FIN, or is gone. */
  async untilEnded(): Promise<string> {
    await this.until("the other side's end", () => this.ended || this.closed);
    return this.text;
  }

  /** Looks at every waiter again. */
  wake(): void {
    const ready = this.waiters.filter((waiter) => waiter.check());
    this.waiters = this.waiters.filter((waiter) => !ready.includes(waiter));
    for (const waiter of ready) waiter.resolve();
  }
}
