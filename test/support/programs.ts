/** Programs of others that tests run for real, where this machine has them. */

import { existsSync } from "node:fs";
import path from "node:path";

/** Where a program may be: PATH, then the `bin` of the folder that `$WEFT_TOOLS` names. */
const folders = [
  ...(process.env["PATH"] ?? "").split(path.delimiter),
  ...(process.env["WEFT_TOOLS"] === undefined ? [] : [path.join(process.env["WEFT_TOOLS"], "bin")]),
].filter((folder) => folder !== "");

/** Where the program is; its bare name when it is nowhere, so that starting it says which one is missing. */
export function programPath(name: string): string {
  const found = folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
  return found ?? name;
}

/** For `skip` of a test: false when all are there, else which are not. */
export function missingPrograms(...names: readonly string[]): string | false {
  const missing = names.filter((name) => programPath(name) === name);
  if (missing.length === 0) return false;
  return `not installed: ${missing.join(", ")} (looked for on PATH and in $WEFT_TOOLS/bin)`;
}
