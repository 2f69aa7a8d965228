/** What a `weft.config.ts` imports from `weft/config`. */

import type { ConfigInput } from "./schema.ts";

export type { ConfigInput };

/** Gives a configuration its types; `export default defineConfig({ ... })`. Returns what it was given. */
export function defineConfig(config: ConfigInput): ConfigInput {
  return config;
}
