/** The proxies that are measured: how each is configured to do the same work, one worker on one core. */

import fs from "node:fs";
import path from "node:path";
import { hasProgram, otherCore, Program, proxyCore } from "./process.ts";

/** The proxies, `relay` being the floor. */
export type PeerName = "weft" | "haproxy" | "nginx" | "relay";

/** What a proxy is to stand in front of. */
export interface Task {
  /** A folder for configuration files. */
  readonly work: string;
  readonly port: number;
  readonly adminPort: number;
  /** The origin's ports. */
  readonly upstreams: readonly number[];
  /** Terminate TLS with this certificate. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly http2: boolean;
  /** weft only: routes before the one that matches. */
  readonly routes: number;
  /** weft only: trivial plugins on the route. */
  readonly plugins: number;
  /** weft only: options for node, e.g. `--cpu-prof`. */
  readonly nodeOptions: readonly string[];
}

const root = path.resolve(import.meta.dirname, "../..");

/** Starts the proxy; null when it is not installed. */
export function startPeer(name: PeerName, task: Task): Promise<Program> | null {
  const dir = path.join(task.work, name);
  fs.mkdirSync(dir, { recursive: true });
  const start = (command: readonly string[]) =>
    Program.start(name, command, { core: proxyCore, ports: [task.port] });
  switch (name) {
    case "weft": {
      const entry = path.join(root, "cmd/weft.ts");
      if (!fs.existsSync(entry)) return null;
      const file = path.join(dir, "weft.yaml");
      fs.writeFileSync(file, weftConfig(task));
      return start([
        process.execPath,
        ...task.nodeOptions,
        entry,
        "gateway",
        "-c",
        file,
        "--workers",
        "1",
      ]);
    }
    case "haproxy": {
      if (!hasProgram("haproxy")) return null;
      const file = path.join(dir, "haproxy.cfg");
      fs.writeFileSync(file, haproxyConfig(task, dir));
      return start(["haproxy", "-db", "-f", file]);
    }
    case "nginx": {
      if (!hasProgram("nginx")) return null;
      const file = path.join(dir, "nginx.conf");
      fs.writeFileSync(file, nginxConfig(task, dir));
      return start(["nginx", "-p", dir, "-c", file]);
    }
    case "relay":
      if (task.tls !== null) return null;
      return start([
        process.execPath,
        path.join(import.meta.dirname, "relay.ts"),
        String(task.port),
        ...task.upstreams.map(String),
      ]);
  }
}

/** nginx on the other core: 64-byte answers from memory, connections kept for ever. */
export function startOrigin(work: string, ports: readonly number[]): Promise<Program> {
  const dir = path.join(work, "origin");
  fs.mkdirSync(dir, { recursive: true });
  const file = path.join(dir, "nginx.conf");
  const body = "x".repeat(64);
  const listeners = ports
    .map(
      (port) =>
        `server { listen 127.0.0.1:${port} backlog=1024; location / { return 200 "${body}"; } }`,
    )
    .join("\n");
  fs.writeFileSync(file, nginxFrame(dir, listeners));
  return Program.start("origin", ["nginx", "-p", dir, "-c", file], { core: otherCore, ports });
}

function nginxFrame(dir: string, http: string): string {
  return `
daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log ${dir}/error.log;
events { worker_connections 4096; }
http {
  access_log off; default_type text/plain;
  keepalive_requests 1000000000; keepalive_timeout 3600; http2_max_concurrent_streams 256;
  client_body_temp_path ${dir}; proxy_temp_path ${dir}; fastcgi_temp_path ${dir}; uwsgi_temp_path ${dir}; scgi_temp_path ${dir};
  ${http}
}`;
}

function nginxConfig(task: Task, dir: string): string {
  const servers = task.upstreams.map((port) => `server 127.0.0.1:${port};`).join(" ");
  const tls =
    task.tls === null
      ? ""
      : `ssl_certificate ${task.tls.cert}; ssl_certificate_key ${task.tls.key}; ssl_protocols TLSv1.3;`;
  return nginxFrame(
    dir,
    `upstream origin { ${servers} keepalive 128; keepalive_requests 1000000000; keepalive_timeout 3600; }
  server {
    listen 127.0.0.1:${task.port} ${task.tls === null ? "" : "ssl"} ${task.http2 ? "http2" : ""} backlog=1024; ${tls}
    location / {
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-Id $request_id;
    }
  }`,
  );
}

function haproxyConfig(task: Task, dir: string): string {
  let bind = task.http2 ? " proto h2" : "";
  if (task.tls !== null) {
    const pem = path.join(dir, "both.pem");
    fs.writeFileSync(
      pem,
      fs.readFileSync(task.tls.cert, "utf8") + fs.readFileSync(task.tls.key, "utf8"),
    );
    bind = ` ssl crt ${pem} ssl-min-ver TLSv1.3`;
  }
  const servers = task.upstreams.map((port, i) => `  server s${i} 127.0.0.1:${port}`).join("\n");
  return `
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
  retries 1
frontend web
  bind 127.0.0.1:${task.port}${bind}
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
  default_backend origin
backend origin
  balance roundrobin
${servers}
`;
}

function weftConfig(task: Task): string {
  const routes = [];
  for (let i = 1; i < task.routes; i++) {
    routes.push(
      `  - { name: r${i}, hosts: [h${i % 100}.example.com], match: { path: /p${i}/x }, to: origin }`,
    );
  }
  const noop = path.join(import.meta.dirname, "noop-plugin.ts");
  const plugins = Array.from({ length: task.plugins }, (_, i) => `{ ${noop}: {}, id: noop${i} }`);
  routes.push(`  - { name: all, to: origin, plugins: [${plugins.join(", ")}] }`);
  const tls =
    task.tls === null
      ? ""
      : `, tls: { certificates: [{ cert: ${task.tls.cert}, key: ${task.tls.key} }] }`;
  return `
gateway:
  listeners: [{ name: web, host: 127.0.0.1, port: ${task.port}${tls} }]
services:
  origin: { endpoints: [${task.upstreams.map((port) => `"127.0.0.1:${port}"`).join(", ")}] }
plugins: [request-id]
routes:
${routes.join("\n")}
admin: { address: 127.0.0.1:${task.adminPort} }
workers: 1
`;
}
