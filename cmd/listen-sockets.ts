/** The listening sockets of the process, bound and kept by the main thread, so that they outlive the workers that accept on them. */

import dns from "node:dns/promises";
import net from "node:net";
import { closeSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { CommandError, exitCodes } from "./exit.ts";
import type { Handover } from "./hot-restart.ts";
import { canDuplicate, dropNew, duplicate, queued } from "./system-calls.ts";

/** A handshake that has begun gets its last packet within this time. */
const settleMs = 100;
/** Nobody waits longer for workers that do not accept. */
const settleMostMs = 1000;

/** A bound socket: one of ours, or a descriptor that another process left us. */
interface KeptSocket {
  fd(): number;
  close(): void;
}

/** An address to listen on. */
export interface ListenAddress {
  /** The listener's name, for messages. */
  readonly name: string;
  /** Null: every address, IPv6 and IPv4. */
  readonly host: string | null;
  readonly port: number;
}

/**
 * One address with a socket per worker: the kernel spreads connections over them (SO_REUSEPORT). A worker accepts on
 * a copy of its socket; what waits in the queue while a worker is replaced is served by the next one.
 */
export class ListenSocket {
  /** The address as bound, with the real port. */
  readonly host: string;
  readonly port: number;
  private readonly sockets: readonly KeptSocket[];
  private readonly copies: boolean;

  private constructor(
    sockets: readonly KeptSocket[],
    bound: { readonly host: string; readonly port: number },
    copies: boolean,
  ) {
    this.host = bound.host;
    this.port = bound.port;
    this.sockets = sockets;
    this.copies = copies;
  }

  /** Goes on with the sockets of the process before us. */
  static async inherit(from: Handover): Promise<ListenSocket> {
    const copies = await canDuplicate();
    const sockets = from.descriptors.map((fd) => ({ fd: () => fd, close: () => closeSync(fd) }));
    return new ListenSocket(sockets, from, copies);
  }

  /**
   * Binds `address` once per worker.
   * @param owned true when this process listens on that port already: then it is not taken by somebody else
   * @throws {CommandError} exit code 3, naming the port
   */
  static async bind(
    address: ListenAddress,
    workers: number,
    owned: boolean,
  ): Promise<ListenSocket> {
    const copies = await canDuplicate();
    let lastError: unknown;
    for (const host of await hosts(address)) {
      try {
        // SO_REUSEPORT lets a second weft share the port in silence: a plain bind is the only way to notice the first
        if (!owned && address.port !== 0) {
          const probe = new net.BoundSocket({ host, port: address.port });
          probe.close();
        }
        const sockets = bindAll(host, address.port, workers, copies);
        const bound = sockets[0]!.address();
        return new ListenSocket(sockets, { host: bound.address, port: bound.port }, copies);
      } catch (error) {
        lastError = error;
        if (address.host !== null || !isFamilyMissing(error)) break;
      }
    }
    throw new CommandError(exitCodes.connect, explain(address, lastError));
  }

  /**
   * A descriptor for the worker of this slot to listen on, now owned by that worker. Null where descriptors cannot
   * be copied (Node 24): the worker then listens by itself with `reusePort`.
   */
  descriptor(slot: number): number | null {
    if (!this.copies) return null;
    return duplicate(this.sockets[slot % this.sockets.length]!.fd());
  }

  /** For a process that takes over; none where descriptors cannot be handed on. */
  get descriptors(): readonly number[] {
    return this.copies ? this.sockets.map((socket) => socket.fd()) : [];
  }

  /** `host:port` as bound. */
  get address(): string {
    return net.isIPv6(this.host) ? `[${this.host}]:${this.port}` : `${this.host}:${this.port}`;
  }

  /**
   * No new connection comes in from now on; resolves when the workers have accepted all that were under way. To be
   * called before {@link close}: what waits in the queue of a socket that closes is reset. Never on a socket that
   * another process has taken over.
   */
  async settle(): Promise<void> {
    if (!this.copies) return;
    const fds = this.sockets.map((socket) => socket.fd());
    if (!fds.map(dropNew).includes(true)) return;
    const startMs = performance.now();
    for (;;) {
      await delay(settleMs);
      const isEmpty = fds.every((fd) => queued(fd) === 0);
      if (isEmpty || performance.now() - startMs > settleMostMs) return;
    }
  }

  /** Gives the port back once the workers have closed their copies. */
  close(): void {
    for (const socket of this.sockets) socket.close();
  }
}

function bindAll(host: string, port: number, workers: number, copies: boolean): net.BoundSocket[] {
  const sockets: net.BoundSocket[] = [];
  try {
    sockets.push(new net.BoundSocket({ host, port, reusePort: true }));
    while (sockets.length < workers) {
      sockets.push(
        new net.BoundSocket({ host, port: sockets[0]!.address().port, reusePort: true }),
      );
    }
    return sockets;
  } catch (error) {
    for (const socket of sockets) socket.close();
    // a system without SO_REUSEPORT: all workers accept from one queue
    if (copies && isUnsupported(error)) return [new net.BoundSocket({ host, port })];
    throw error;
  }
}

async function hosts(address: ListenAddress): Promise<string[]> {
  if (address.host === null) return ["::", "0.0.0.0"];
  if (net.isIP(address.host) !== 0) return [address.host];
  try {
    return [(await dns.lookup(address.host)).address];
  } catch {
    throw new CommandError(
      exitCodes.connect,
      `listener ${address.name}: the host name ${address.host} cannot be resolved`,
    );
  }
}

/** `listener web: port 8080 is taken by another process (127.0.0.1:8080)`. */
export function explain(address: ListenAddress, error: unknown): string {
  const where = `${address.host ?? "*"}:${address.port}`;
  const who = `listener ${address.name}`;
  switch ((error as NodeJS.ErrnoException).code) {
    case "EADDRINUSE":
      return `${who}: port ${address.port} is taken by another process (${where})`;
    case "EACCES":
      return `${who}: port ${address.port} needs privileges that this process lacks (${where})`;
    case "EADDRNOTAVAIL":
      return `${who}: ${address.host} is not an address of this machine (${where})`;
    case "EMFILE":
    case "ENFILE":
      return `${who}: no file descriptor left to listen on ${where}`;
    default:
      return `${who}: cannot listen on ${where}: ${(error as Error).message}`;
  }
}

function isFamilyMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL" || code === "EINVAL";
}

function isUnsupported(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return (
    code === "ENOTSUP" || code === "ENOPROTOOPT" || code === "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM"
  );
}
