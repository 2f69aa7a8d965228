/** Stands between a client and a server on loopback, and lets bytes through, holds, drops, cuts or replaces them. */

import { once } from "node:events";
import net from "node:net";
import type { AddressInfo } from "node:net";

/**
 * What becomes of the server's answers. `pass`: they go on. `hold`: they wait for `pass`. `swallow`: they are lost.
 * `half`: their first byte goes on, the rest is lost. `cut`: the connection is reset at the client's next byte, and new
 * ones at once. `deaf`: nothing the client says arrives. A `reply` is what the client gets for each command (RESP).
 * `lateMs`: they go on so much later. What was held or late goes on, in order, with the next `pass`.
 */
export type Fault =
  | "pass"
  | "hold"
  | "swallow"
  | "half"
  | "cut"
  | "deaf"
  | { readonly reply: string }
  | { readonly lateMs: number };

interface Pair {
  readonly near: net.Socket;
  readonly far: net.Socket;
  readonly held: Buffer[];
}

export class FaultSocket {
  /** Connections that were opened since the start. */
  connections = 0;
  /** Commands that clients sent since the start, their bytes, and pieces of answers that they were given. */
  commands = 0;
  bytesIn = 0;
  answers = 0;
  private fault: Fault = "pass";
  private readonly server: net.Server;
  private readonly pairs = new Set<Pair>();
  private readonly timers = new Set<NodeJS.Timeout>();

  private constructor(to: number) {
    this.server = net.createServer((near) => this.accept(near, to));
  }

  static async start(to: number): Promise<FaultSocket> {
    const socket = new FaultSocket(to);
    socket.server.listen(0, "127.0.0.1");
    await once(socket.server, "listening");
    return socket;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  set(fault: Fault): void {
    this.fault = fault;
    if (fault === "pass") {
      for (const timer of this.timers) clearTimeout(timer);
      this.timers.clear();
      for (const pair of this.pairs) while (pair.held.length > 0) this.giveHeld(pair);
    }
    if (fault === "cut") for (const { near } of this.pairs) near.resetAndDestroy();
  }

  close(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.server.close();
    for (const { near } of this.pairs) near.destroy();
  }

  private accept(near: net.Socket, to: number): void {
    this.connections++;
    if (this.fault === "cut") {
      near.on("error", () => {});
      near.resetAndDestroy();
      return;
    }
    const far = net.connect(to, "127.0.0.1");
    const pair: Pair = { near, far, held: [] };
    this.pairs.add(pair);
    for (const one of [near, far]) one.on("error", () => one.destroy());
    near.on("close", () => {
      this.pairs.delete(pair);
      far.destroy();
    });
    far.on("close", () => near.destroy());
    near.on("data", (chunk: Buffer) => this.forth(pair, chunk));
    far.on("data", (chunk: Buffer) => this.back(pair, chunk));
  }

  private forth({ near, far }: Pair, chunk: Buffer): void {
    // ioredis writes whole commands: an array of bulk strings each
    const commands = chunk.toString("latin1").match(/(?<=^|\r\n)\*\d+\r\n/g)?.length ?? 0;
    this.commands += commands;
    this.bytesIn += chunk.length;
    if (this.fault === "deaf") return;
    if (typeof this.fault === "object" && "reply" in this.fault)
      near.write(this.fault.reply.repeat(commands), "latin1");
    else far.write(chunk);
  }

  private back(pair: Pair, chunk: Buffer): void {
    const { fault } = this;
    if (fault === "pass") this.give(pair, chunk);
    else if (fault === "half") this.give(pair, chunk.subarray(0, 1));
    else if (fault === "hold") pair.held.push(chunk);
    else if (typeof fault === "object" && "lateMs" in fault) {
      pair.held.push(chunk);
      const timer = setTimeout(() => {
        this.timers.delete(timer);
        this.giveHeld(pair);
      }, fault.lateMs);
      this.timers.add(timer);
    }
  }

  private giveHeld(pair: Pair): void {
    const chunk = pair.held.shift();
    if (chunk !== undefined) this.give(pair, chunk);
  }

  private give({ near }: Pair, chunk: Buffer): void {
    this.answers++;
    near.write(chunk);
  }
}
