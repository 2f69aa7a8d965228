/** A worker's listeners: opened, kept and closed as configurations come and go, on sockets that the main thread owns. */

import fs from "node:fs";
import { Listener, type ListenerEnv, type ListenerSpec } from "../proxy/listen/listener.ts";
import type { ListenPoint } from "./protocol.ts";

/** What a configuration says of a listener, besides its address. */
export type ListenerNature = Pick<ListenerSpec, "tls" | "proxyProtocol" | "plainText" | "detects">;

interface Open {
  readonly listener: Listener;
  readonly nature: ListenerNature;
}

export class WorkerListeners {
  private readonly env: (point: ListenPoint) => ListenerEnv;
  private open = new Map<string, Open>();
  /** Sockets of other slots that this worker accepts on meanwhile. */
  private readonly adopted = new Map<number, Map<string, Open>>();
  /** Closed for new connections, with old ones left. */
  private readonly leaving = new Set<Listener>();

  /** @param env how connections of a listener are served */
  constructor(env: (point: ListenPoint) => ListenerEnv) {
    this.env = env;
  }

  /**
   * Makes the open listeners those of `points`.
   * @returns why a listener could not be opened; the others serve
   */
  async apply(
    points: readonly ListenPoint[],
    nature: (point: ListenPoint) => ListenerNature,
  ): Promise<string | null> {
    const next = new Map<string, Open>();
    const problems: string[] = [];
    for (const point of points) {
      const kept = this.open.get(point.key);
      const wanted = nature(point);
      if (kept !== undefined && isSame(kept.nature, wanted)) {
        close(point.descriptor);
        next.set(point.key, kept);
        continue;
      }
      try {
        next.set(point.key, await this.openOne(point, wanted));
      } catch (error) {
        problems.push((error as Error).message);
        // a listener that cannot be changed goes on as it was
        if (kept !== undefined) next.set(point.key, kept);
      }
    }
    for (const [key, one] of this.open) if (next.get(key) !== one) this.leave(one.listener);
    for (const slot of this.adopted.values()) {
      for (const [key, one] of slot) {
        if (next.get(key)?.nature === one.nature) continue;
        this.leave(one.listener);
        slot.delete(key);
      }
    }
    this.open = next;
    return problems.length === 0 ? null : problems.join("; ");
  }

  /** Accepts on another slot's sockets too. */
  async adopt(slot: number, points: readonly ListenPoint[]): Promise<void> {
    this.release(slot);
    const all = new Map<string, Open>();
    this.adopted.set(slot, all);
    for (const point of points) {
      const own = this.open.get(point.key);
      if (own === undefined) close(point.descriptor);
      else all.set(point.key, await this.openOne(point, own.nature));
    }
  }

  /** The slot has a worker of its own again. */
  release(slot: number): void {
    for (const { listener } of this.adopted.get(slot)?.values() ?? []) this.leave(listener);
    this.adopted.delete(slot);
  }

  /** Stops accepting; resolves when the last connection has ended. */
  async drain(): Promise<void> {
    await Promise.all(this.all().map((listener) => listener.drain()));
  }

  /** Cuts every connection. */
  destroy(): void {
    for (const listener of this.all()) listener.destroy();
  }

  private async openOne(point: ListenPoint, nature: ListenerNature): Promise<Open> {
    const { name, host, port, descriptor } = point;
    const spec = { ...nature, name, host, port, reusePort: true };
    const listener = new Listener(spec, this.env(point));
    await (descriptor === null ? listener.listen() : listener.listen(descriptor));
    return { listener, nature };
  }

  private leave(listener: Listener): void {
    this.leaving.add(listener);
    void listener.drain().then(() => this.leaving.delete(listener));
  }

  private all(): Listener[] {
    const adopted = [...this.adopted.values()].flatMap((slot) => [...slot.values()]);
    return [
      ...[...this.open.values(), ...adopted].map(({ listener }) => listener),
      ...this.leaving,
    ];
  }
}

function isSame(a: ListenerNature, b: ListenerNature): boolean {
  return (
    a.tls === b.tls &&
    a.proxyProtocol === b.proxyProtocol &&
    a.plainText === b.plainText &&
    (a.detects ?? false) === (b.detects ?? false)
  );
}

/** A descriptor that nobody needs: the listener it was meant for is open already. */
function close(descriptor: number | null): void {
  if (descriptor !== null) fs.close(descriptor, () => {});
}
