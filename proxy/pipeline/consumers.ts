/** The consumers of a configuration, found by name or by a presented key. */

import { hash } from "node:crypto";
import { toOwnText } from "./local-cache.ts";
import type { Consumer, Consumers } from "./plugin.ts";

/** A consumer as configured; of its `keys` those that are `sha256:<hex>` can be looked up here, others are for plugins. */
export interface ConsumerEntry {
  readonly name: string;
  readonly keys: readonly string[];
  readonly plan: string | null;
  readonly groups: readonly string[];
}

/** Most keys that are known as they were presented. */
const maxPresented = 4096;

/**
 * Keys are compared by their hash: the lookup's time says nothing about a key that is not known. A key that was found
 * is remembered as it was presented; a `Map` looks by a hash with a secret seed, so its time says nothing either.
 */
export class ConsumerIndex implements Consumers {
  /** As configured: the instance store compares them. */
  readonly entries: readonly ConsumerEntry[];
  private readonly names = new Map<string, Consumer>();
  private readonly digests = new Map<string, Consumer>();
  private readonly presented = new Map<string, Consumer>();

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
    const known = this.presented.get(key);
    if (known !== undefined) return known;
    const consumer = this.digests.get(hash("sha256", key, "hex"));
    if (consumer === undefined) return undefined;
    if (this.presented.size >= maxPresented) this.presented.clear();
    this.presented.set(toOwnText(key), consumer);
    return consumer;
  }
}
