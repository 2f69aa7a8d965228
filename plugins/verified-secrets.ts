/** Remembers which secrets were good, or were not, without keeping them: under a hash with a key of this process. */

import { createHmac, randomBytes } from "node:crypto";
import type { Host, LocalCache } from "../proxy/pipeline/plugin.ts";

/** Made anew by each worker: what is remembered is of no use outside of it. */
const hashKey = randomBytes(32);

/** A bounded memory of verified secrets. */
export class VerifiedSecrets<V> {
  private readonly cache: LocalCache<V>;

  /** @param options `max` entries, `ttlMs` until a secret is verified again */
  constructor(host: Host, options: { readonly max: number; readonly ttlMs: number }) {
    this.cache = host.local<V>("verified", options);
  }

  get(secret: string): V | undefined {
    return this.cache.get(nameOf(secret));
  }

  set(secret: string, value: V): void {
    this.cache.set(nameOf(secret), value);
  }
}

function nameOf(secret: string): string {
  return createHmac("sha256", hashKey).update(secret).digest("base64");
}
