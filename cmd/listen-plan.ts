/** Which sockets a configuration wants, and which of the open ones it keeps. */

import type { Config } from "../control/config.ts";
import type { ListenerState } from "../control/admin/source.ts";
import { takeInherited, type Handover } from "./hot-restart.ts";
import { ListenSocket, type ListenAddress } from "./listen-sockets.ts";
import type { ListenPoint, PlaneName } from "./protocol.ts";

interface Wanted extends ListenAddress {
  readonly plane: PlaneName;
  readonly secure: boolean;
  /** Two listeners with the same key share their socket over a reload. */
  readonly key: string;
}

/** Every listener of the configuration for this mode. */
export function wantedListeners(config: Config, mode: "gateway" | "mesh"): Wanted[] {
  if (mode === "gateway") {
    return (config.gateway?.listeners ?? []).map((listener) => ({
      name: listener.name,
      host: listener.host,
      port: listener.port,
      plane: "edge" as const,
      secure: listener.tls !== null,
      key: `${listener.name} ${listener.host ?? "*"}:${listener.port}`,
    }));
  }
  const wanted: Wanted[] = [];
  for (const plane of ["outbound", "inbound"] as const) {
    const at = config.mesh?.[plane] ?? null;
    if (at === null) continue;
    const key = `${plane} ${at.host}:${at.port}`;
    wanted.push({
      name: plane,
      host: at.host,
      port: at.port,
      plane,
      secure: plane === "inbound",
      key,
    });
  }
  return wanted;
}

type Opened = Map<string, { readonly wanted: Wanted; readonly socket: ListenSocket }>;

/** The sockets of the process. They change with the configuration, in two steps. */
export class ListenPlan {
  private readonly mode: "gateway" | "mesh";
  private readonly workers: number;
  private closed = false;
  /** Another process accepts on our sockets too: they are not ours to shut. */
  isShared = false;
  private open: Opened = new Map();

  constructor(mode: "gateway" | "mesh", workers: number) {
    this.mode = mode;
    this.workers = workers;
  }

  /**
   * Binds what `config` adds. The plan in effect is unchanged until {@link PreparedPlan.commit}.
   * @throws {CommandError} exit code 3: a port is taken; nothing stays bound
   */
  async prepare(config: Config): Promise<PreparedPlan> {
    const next: Opened = new Map();
    const fresh: ListenSocket[] = [];
    const ports = new Set([...this.open.values()].map(({ socket }) => socket.port));
    try {
      for (const wanted of wantedListeners(config, this.mode)) {
        const kept = this.open.get(wanted.key);
        const left = kept === undefined ? takeInherited(wanted.key) : null;
        const socket =
          kept?.socket ??
          (left === null
            ? await ListenSocket.bind(wanted, this.workers, ports.has(wanted.port))
            : await ListenSocket.inherit(left));
        if (kept === undefined) fresh.push(socket);
        next.set(wanted.key, { wanted, socket });
      }
    } catch (error) {
      for (const socket of fresh) socket.close();
      throw error;
    }
    const before = this.open;
    return {
      points: (slot) => pointsOf(next, slot),
      settle: () => this.settleAll([...before].filter(([key]) => !next.has(key))),
      commit: () => {
        this.open = next;
        // workers have copies: the sockets close when the last of them lets go
        for (const [key, { socket }] of before) if (!next.has(key)) socket.close();
      },
      abort: () => {
        for (const socket of fresh) socket.close();
      },
    };
  }

  /** Fresh descriptors for a worker of this slot. */
  points(slot: number): ListenPoint[] {
    return pointsOf(this.open, slot);
  }

  /** As the admin API shows them. */
  states(isServing: boolean): ListenerState[] {
    return [...this.open.values()].map(({ wanted, socket }) => ({
      name: wanted.name,
      address: socket.address,
      plane: wanted.plane,
      secure: wanted.secure,
      open: isServing && !this.closed,
    }));
  }

  /** For a process that takes over. */
  handover(): Handover[] {
    return [...this.open].map(([key, { socket }]) => ({
      key,
      host: socket.host,
      port: socket.port,
      descriptors: socket.descriptors,
    }));
  }

  /** Before {@link close}: nobody new comes in, and whoever waits to be accepted is. */
  async settle(): Promise<void> {
    if (!this.closed) await this.settleAll([...this.open]);
  }

  private async settleAll(open: readonly [string, { readonly socket: ListenSocket }][]) {
    if (!this.isShared) await Promise.all(open.map(([, { socket }]) => socket.settle()));
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const { socket } of this.open.values()) socket.close();
  }
}

/** Sockets bound for a configuration that is not in effect yet. */
export interface PreparedPlan {
  /** Fresh descriptors for a worker of this slot. */
  points(slot: number): ListenPoint[];
  /** Right before the commit: has the sockets that it closes let in whoever waits in their queues. */
  settle(): Promise<void>;
  commit(): void;
  abort(): void;
}

function pointsOf(open: Opened, slot: number): ListenPoint[] {
  return [...open.values()].map(({ wanted, socket }) => ({
    key: wanted.key,
    name: wanted.name,
    plane: wanted.plane,
    host: socket.host,
    port: socket.port,
    descriptor: socket.descriptor(slot),
  }));
}
