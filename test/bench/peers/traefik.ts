/** Traefik as a contestant. */

import { put, type Launch, type Task } from "./task.ts";

/** No access log, no metrics; GOMAXPROCS 1, as the others have one thread. */
export function traefik(task: Task): Launch | null {
  if (task.down === "tcp") return null;
  const scheme = task.up === "http2" ? "h2c" : "http";
  const servers = task.upstreams
    .map((port) => `{ url: "${scheme}://127.0.0.1:${port}" }`)
    .join(", ");
  const certificates =
    task.tls === null
      ? ""
      : `
tls:
  certificates: [{ certFile: "${task.tls.cert}", keyFile: "${task.tls.key}" }]
  options: { default: { minVersion: VersionTLS13 } }`;
  const routes = put(
    task,
    "routes.yaml",
    `
http:
  routers:
    all: { rule: "PathPrefix(\`/\`)", entryPoints: [web], service: origin${task.tls === null ? "" : ", tls: {}"} }
  services:
    origin: { loadBalancer: { servers: [${servers}] } }
${certificates}
`,
  );
  const file = put(
    task,
    "traefik.yaml",
    `
global: { checkNewVersion: false, sendAnonymousUsage: false }
log: { level: ERROR }
entryPoints:
  web:
    address: "127.0.0.1:${task.port}"
    transport: { respondingTimeouts: { idleTimeout: 600s } }
serversTransport: { maxIdleConnsPerHost: 256 }
providers: { file: { filename: "${routes}", watch: false } }
`,
  );
  return { command: ["traefik", `--configFile=${file}`], env: { GOMAXPROCS: "1" } };
}
