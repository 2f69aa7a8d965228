/** Proxies built on Node's own HTTP stack: packages are put into a folder below the system's temporary one, once. */

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Launch, Task } from "./task.ts";

/** Which kind, as node-proxy.ts knows it, and what it needs from the registry. */
const packages = {
  "http-proxy": ["http-proxy@1.18.1"],
  "http-proxy-3": ["http-proxy-3@2.0.1"],
  undici: ["undici@7"],
  "http2-undici": ["undici@7"],
  fastify: ["fastify@5", "@fastify/http-proxy@11"],
} as const;

export type NodePeer = keyof typeof packages;

const folder = path.join(os.tmpdir(), "weft-bench-packages");
let installed: string | null | undefined;

/** Installs all of them; the reason when that cannot be done. */
function install(): string | null {
  const names = [...new Set(Object.values(packages).flat())];
  const wanted = names.map((name) => name.slice(0, name.lastIndexOf("@")));
  const there = (name: string) => fs.existsSync(path.join(folder, "node_modules", name));
  if (wanted.every(there)) return null;
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, "package.json"), '{ "private": true }\n');
  const flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0"];
  const made = spawnSync("npm", ["install", ...flags, ...names], {
    cwd: folder,
    encoding: "utf8",
    timeout: 120_000,
  });
  if (made.status === 0 && wanted.every(there)) return null;
  return `npm could not fetch ${names.join(", ")}: ${(made.stderr ?? "").trim().split("\n")[0] ?? ""}`;
}

/** Null, or why the packages are not there. */
export function whyNoPackages(): string | null {
  if (installed === undefined) installed = install();
  return installed;
}

/** One process. */
export function nodePeer(kind: NodePeer, task: Task): Launch | null {
  if (task.tls !== null || task.up === "http2" || task.down === "tcp") return null;
  if ((task.down === "http2") !== (kind === "http2-undici")) return null;
  const script = path.join(import.meta.dirname, "node-proxy.ts");
  const ports = [task.port, ...task.upstreams].map(String);
  return { command: [process.execPath, script, kind, folder, ...ports] };
}
