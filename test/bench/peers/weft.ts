/** weft as a contestant, from this clone. */

import crypto from "node:crypto";
import path from "node:path";
import { put, type Launch, type Task } from "./task.ts";

const root = path.resolve(import.meta.dirname, "../../..");

/** The key that callers of a route with policies show. */
export const benchKey = "bench-key";

/** How to run a command of weft. */
export function weftCommand(
  args: readonly string[],
  nodeOptions: readonly string[] = [],
): readonly string[] {
  return [process.execPath, ...nodeOptions, path.join(root, "cmd/weft.ts"), ...args];
}

/** A gateway; its configuration is `weft.yaml` in the task's folder. */
export function weft(task: Task): Launch {
  const file = put(task, "weft.yaml", weftConfig(task));
  const workers = String(task.workers ?? 1);
  return {
    command: weftCommand(["gateway", "-c", file, "--workers", workers], task.nodeOptions),
  };
}

/** @param extraRoutes further lines below `routes:` */
export function weftConfig(task: Task, extraRoutes: readonly string[] = []): string {
  if (task.down === "tcp") return tcpConfig(task);
  const routes = [...extraRoutes];
  for (let i = 1; i < (task.routes ?? 1); i++) {
    routes.push(
      `  - { name: r${i}, hosts: [h${i % 100}.example.com], match: { path: /p${i}/x }, to: origin }`,
    );
  }
  const noop = path.join(import.meta.dirname, "../noop-plugin.ts");
  const plugins = Array.from(
    { length: task.plugins ?? 0 },
    (_, i) => `{ ${noop}: {}, id: noop${i} }`,
  );
  plugins.push(...(task.policies ?? []));
  routes.push(`  - { name: all, to: origin, plugins: [${plugins.join(", ")}] }`);
  const tls =
    task.tls === null
      ? ""
      : `, tls: { certificates: [{ cert: ${task.tls.cert}, key: ${task.tls.key} }] }`;
  const hash = crypto.createHash("sha256").update(benchKey).digest("hex");
  return `
gateway:
  listeners: [{ name: web, host: 127.0.0.1, port: ${task.port}${tls} }]
  limits: { connections: 20000 }
services:
  origin: { endpoints: [${endpoints(task)}], protocol: ${task.up ?? "http1"} }
consumers: [{ name: bench, keys: ["sha256:${hash}"] }]
plugins: [request-id]
routes:
${routes.join("\n")}
admin: { address: 127.0.0.1:${task.adminPort} }
workers: ${task.workers ?? 1}
${task.config ?? ""}
`;
}

function tcpConfig(task: Task): string {
  return `
gateway:
  listeners: [{ name: all, host: 127.0.0.1, port: ${task.port}, protocol: tcp, to: origin }]
services:
  origin: { endpoints: [${endpoints(task)}], protocol: tcp }
admin: { address: 127.0.0.1:${task.adminPort} }
workers: ${task.workers ?? 1}
`;
}

function endpoints(task: Task): string {
  return task.upstreams.map((port) => `"127.0.0.1:${port}"`).join(", ");
}
