/** Requests that others wait for: one at a time for each answer, over all workers. */

import type { SharedGate } from "../proxy/pipeline/plugin.ts";

/** How long a request waits for another one's answer before it asks itself. Milliseconds. */
const patienceMs = 5000;

/** A request that is under way, here or in another worker. */
export interface Lead {
  readonly over: Promise<void>;
  /** Once; further calls do nothing. */
  end(): void;
}

export class Leads {
  private readonly leads = new Map<string, Lead>();
  private readonly gate: SharedGate;
  private readonly onEnd: (key: string) => void;

  /**
   * @param gate lets one in for each key, over all workers
   * @param onEnd a lead of this worker has ended: others are to be told
   */
  constructor(gate: SharedGate, onEnd: (key: string) => void) {
    this.gate = gate;
    this.onEnd = onEnd;
  }

  /** The lead that is known here. */
  get(key: string): Lead | undefined {
    return this.leads.get(key);
  }

  /** Takes the lead; null: another worker has it. */
  take(key: string): Lead | null {
    const permit = this.gate.enter(key);
    if (permit === null) return null;
    return this.add(key, () => {
      // in this order: whoever could not enter hears of the end
      permit.leave();
      this.onEnd(key);
    });
  }

  /** The lead of another worker: it ends when that says so, or after a while. */
  follow(key: string): Lead {
    const timer = setTimeout(() => lead.end(), patienceMs).unref();
    const lead = this.add(key, () => clearTimeout(timer));
    return lead;
  }

  /** Resolves when the lead has ended, or has taken too long. */
  async wait(lead: Lead): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, patienceMs);
    });
    await Promise.race([lead.over, patience]);
    clearTimeout(timer);
  }

  private add(key: string, ended: () => void): Lead {
    const { promise, resolve } = Promise.withResolvers<void>();
    let isOver = false;
    const lead: Lead = {
      over: promise,
      end: () => {
        if (isOver) return;
        isOver = true;
        if (this.leads.get(key) === lead) this.leads.delete(key);
        resolve();
        ended();
      },
    };
    this.leads.set(key, lead);
    return lead;
  }
}
