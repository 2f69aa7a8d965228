/** A worker's mesh identity: read with each configuration, replaced in place, so that live services go on dialling with it. */

import { IdentityError, MeshIdentity, domainsOf, readIdentity } from "../mesh/identity.ts";
import { ConfigProblems } from "../control/compile/problems.ts";
import type { Config } from "../control/config.ts";
import type { Log } from "../proxy/pipeline/plugin.ts";

export interface WorkerIdentityEnv {
  readonly log: Log;
  readonly ticketKeys: Buffer;
  refused(reason: string): void;
}

/** An identity that is ready and not in effect yet. */
export interface PreparedIdentity {
  /** The object that dialling and listening hold on to; null: the configuration has none. */
  readonly identity: MeshIdentity | null;
  commit(): void;
}

export class WorkerIdentity {
  private readonly env: WorkerIdentityEnv;
  private ticketKeys: Buffer;
  private live: MeshIdentity | null = null;
  private key = "";

  constructor(env: WorkerIdentityEnv) {
    this.env = env;
    this.ticketKeys = env.ticketKeys;
  }

  /** As {@link MeshIdentity.useTicketKeys}. */
  useTicketKeys(keys: Buffer): void {
    this.ticketKeys = keys;
    this.live?.useTicketKeys(keys);
  }

  /** Throws {@link ConfigProblems} when a file cannot be used. */
  async prepare(config: Config): Promise<PreparedIdentity> {
    const { mesh } = config;
    if (mesh === null || mesh.identity === null) {
      return { identity: null, commit: () => (this.live = null) };
    }
    const callers = (config.access?.rules ?? []).flatMap((rule) => rule.from);
    const otherDomains = domainsOf(callers);
    const { service, trustDomain } = mesh;
    const { ticketKeys } = this;
    const key = JSON.stringify([service, trustDomain, otherDomains]);
    try {
      const material = await readIdentity(mesh.identity);
      const fresh = new MeshIdentity(material, {
        service,
        trustDomain,
        otherDomains,
        ticketKeys,
        log: this.env.log,
        refused: this.env.refused,
        wallNow: () => Date.now(),
      });
      const live = key === this.key ? this.live : null;
      return {
        identity: live ?? fresh,
        commit: () => {
          live?.replace(material);
          this.live = live ?? fresh;
          this.key = key;
          if (ticketKeys !== this.ticketKeys) this.live.useTicketKeys(this.ticketKeys);
        },
      };
    } catch (error) {
      if (!(error instanceof IdentityError)) throw error;
      const path = ["mesh", "identity", error.file];
      throw new ConfigProblems([{ path, at: "value", message: error.message }]);
    }
  }
}
