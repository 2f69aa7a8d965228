/** Imports code that a configuration names: plugins and apps, from a file or from a package that the configuration's folder has. */

import { registerHooks } from "node:module";
import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";
import { resolveWeft } from "../resolve-weft.ts";

/** Scheme of an import on behalf of another folder: `weft-from:<url of that folder>#<specifier>`. */
const from = "weft-from:";

let installed = false;

function install(): void {
  if (installed) return;
  installed = true;
  resolveWeft();
  registerHooks({
    resolve(specifier, context, next) {
      if (!specifier.startsWith(from)) return next(specifier, context);
      const hash = specifier.indexOf("#");
      const parentURL = specifier.slice(from.length, hash);
      return next(specifier.slice(hash + 1), { ...context, parentURL });
    },
  });
}

/**
 * Imports a file by its absolute path, or a package as a file in `baseDir` would. `weft/plugin`, `zod` and `hono`
 * resolve for it wherever it lies. Rejects with what went wrong in it.
 */
export async function importModule(
  use: string,
  baseDir: string,
): Promise<Readonly<Record<string, unknown>>> {
  install();
  const folder = pathToFileURL(`${baseDir}/`).href;
  const specifier = isAbsolute(use) ? pathToFileURL(use).href : `${from}${folder}#${use}`;
  return (await import(specifier)) as Readonly<Record<string, unknown>>;
}
