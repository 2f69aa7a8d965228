/** Lets a user's own modules import `weft/config`, `weft/plugin` and `zod` from any folder, installed or not. */

import { registerHooks } from "node:module";
import { extname } from "node:path";

const extension = extname(import.meta.filename);
const own: Readonly<Record<string, string>> = {
  "weft/config": new URL(`./define${extension}`, import.meta.url).href,
  "weft/plugin": new URL(`../proxy/pipeline/plugin${extension}`, import.meta.url).href,
};
/** Taken from weft's own dependencies when the user's folder has none. */
const shared = /^(?:zod|hono)(?:\/|$)/;

let registered = false;

/** Once per thread. The one copy of `weft/plugin` is what makes a plugin's `Reply` the class that the pipeline knows. */
export function resolveWeft(): void {
  if (registered) return;
  registered = true;
  registerHooks({
    resolve(specifier, context, next) {
      const url = own[specifier];
      if (url !== undefined) return { url, shortCircuit: true };
      if (!shared.test(specifier)) return next(specifier, context);
      try {
        return next(specifier, context);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw error;
        return next(specifier, { ...context, parentURL: import.meta.url });
      }
    },
  });
}
