/** The consumers of a configuration, found by name or by a presented key. */

import { hash } from "node:crypto";
import type { Consumer, Consumers } from "./plugin.ts";

/** A consumer as configured; of its `keys` those that are `sha256:<hex>` can be looked up here, others are for plugins. */
export interface ConsumerEntry {
  readonly name: string;
  readonly keys: readonly string[];
  readonly plan: string | null;
  readonly groups: readonly string[];
}

/** Keys are compared by their hash: the lookup's time says nothing about a key that is not known. */
export class ConsumerIndex implements Consumers {
  /** As configured: the instance store compares them. */
  readonly entries: readonly ConsumerEntry[];
  private readonly names = new Map<string, Consumer>();
  private readonly digests = new Map<string, Consumer>();

  constructor(entries: readonly ConsumerEntry[]) {
    this.entries = entries;
    for (const { name, keys, plan, groups } of entries) {
      const consumer: Consumer = { name, plan, groups };
      this.names.set(name, consumer);
      for (const key of keys)
        if (key.startsWith("sha256:")) this.digests.set(key.slice(7).toLowerCase(), consumer);
    }
  }

  byName(name: string): Consumer | undefined {
    return this.names.get(name);
  }

  byKey(key: string): Consumer | undefined {
    return this.digests.get(hash("sha256", key, "hex"));
  }
}
