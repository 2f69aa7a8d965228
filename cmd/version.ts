/** weft's own version, from its package.json: two folders up from a built file, one up in a clone. */

import { existsSync, readFileSync } from "node:fs";

function readVersion(): string {
  for (const path of ["../package.json", "../../package.json"]) {
    const url = new URL(path, import.meta.url);
    if (!existsSync(url)) continue;
    const { name, version } = JSON.parse(readFileSync(url, "utf8")) as Record<string, string>;
    if (name === "weft" && version !== undefined) return version;
  }
  return "0.0.0";
}

export const version = readVersion();
