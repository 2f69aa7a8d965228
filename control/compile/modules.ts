/** Loads code that a configuration names: plugins, apps, TypeScript configs; wherever the file lies, weft's own names resolve. */

import { registerHooks } from "node:module";
import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";

/** What a plugin may import from weft; always the running instance, so that `instanceof` and slots hold. */
const own: Readonly<Record<string, string>> = {
  "weft/plugin": "../../proxy/pipeline/plugin",
  "weft/config": "../define",
};

/** Scheme of an import on behalf of another folder: `weft-from:<url of that folder>#<specifier>`. */
const from = "weft-from:";

/** Packages that plugins and apps may use without an install of their own. */
const lent = ["zod", "hono"];

let installed = false;

/**
 * Makes `weft/plugin`, `weft/config`, `zod` and `hono` resolve in this thread, for files outside the project too.
 * Doing it twice changes nothing. A package that the file's own folder has is preferred over the lent one.
 */
export function installModuleHooks(): void {
  if (installed) return;
  installed = true;
  // .ts in a clone, .js in the published package
  const extension = import.meta.url.slice(import.meta.url.lastIndexOf("."));
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier.startsWith(from)) {
        const hash = specifier.indexOf("#");
        const parentURL = specifier.slice(from.length, hash);
        return next(specifier.slice(hash + 1), { ...context, parentURL });
      }
      const path = Object.hasOwn(own, specifier) ? own[specifier] : undefined;
      if (path !== undefined) {
        return { url: new URL(path + extension, import.meta.url).href, shortCircuit: true };
      }
      if (!lent.some((name) => specifier === name || specifier.startsWith(`${name}/`))) {
        return next(specifier, context);
      }
      try {
        return next(specifier, context);
      } catch (error) {
        try {
          return next(specifier, { ...context, parentURL: import.meta.url });
        } catch {
          throw error;
        }
      }
    },
  });
}

/** Imports a file by its absolute path, or a package as seen from `baseDir`. Rejects with what went wrong in it. */
export async function importModule(
  use: string,
  baseDir: string,
): Promise<Readonly<Record<string, unknown>>> {
  installModuleHooks();
  const folder = pathToFileURL(`${baseDir}/`).href;
  const specifier = isAbsolute(use) ? pathToFileURL(use).href : `${from}${folder}#${use}`;
  return (await import(specifier)) as Readonly<Record<string, unknown>>;
}
