/** The certificates of a gateway's listeners: read with each configuration, swapped in place. */

import { ConfigProblems } from "../control/compile/problems.ts";
import type { Config, Problem } from "../control/config.ts";
import { readTlsFiles } from "../gateway/certificates.ts";
import { TlsContexts, TlsMaterialError } from "../proxy/listen/tls.ts";

/** Certificates per listener name, ready and not in effect yet. */
export interface PreparedTls {
  /** Null: the listener speaks plain text. */
  of(listener: string): TlsContexts | null;
  commit(): void;
}

export class WorkerTls {
  private ticketKeys: Buffer;
  private live: ReadonlyMap<string, TlsContexts> = new Map();

  constructor(ticketKeys: Buffer) {
    this.ticketKeys = ticketKeys;
  }

  /** 48 bytes. Sessions that were sealed with the keys before do not resume any more. */
  useTicketKeys(keys: Buffer): void {
    this.ticketKeys = keys;
    for (const contexts of this.live.values()) contexts.useTicketKeys(keys);
  }

  /** Throws {@link ConfigProblems} naming every certificate that cannot be used. */
  async prepare(config: Config): Promise<PreparedTls> {
    const keys = this.ticketKeys;
    const next = new Map<string, TlsContexts>();
    const swaps: (() => void)[] = [];
    const problems: Problem[] = [];
    for (const [index, { name, tls, protocol }] of (config.gateway?.listeners ?? []).entries()) {
      if (tls === null) continue;
      try {
        const files = await readTlsFiles(tls, keys);
        // what is spoken inside is the service's own: a client that names it by ALPN must not be turned away
        const material = protocol === "tcp" ? { ...files, alpn: null } : files;
        const fresh = new TlsContexts(material);
        const live = this.live.get(name);
        if (live !== undefined) swaps.push(() => live.replace(material));
        next.set(name, live ?? fresh);
      } catch (error) {
        const where = error instanceof TlsMaterialError ? error.where : [];
        problems.push({
          path: ["gateway", "listeners", index, "tls", ...where],
          at: "value",
          message: error instanceof Error ? error.message : String(error),
        });
      }
    }
    if (problems.length > 0) throw new ConfigProblems(problems);
    return {
      of: (listener) => next.get(listener) ?? null,
      commit: () => {
        for (const swap of swaps) swap();
        this.live = next;
        if (keys !== this.ticketKeys) this.useTicketKeys(this.ticketKeys);
      },
    };
  }
}
