/** nginx as a contestant, and as the origin of all of them. */

import fs from "node:fs";
import path from "node:path";
import { otherCore, Program } from "../process.ts";
import { put, type Launch, type Task } from "./task.ts";

/** Size of the answer at `/large`. */
export const largeBytes = 100 * 1024;
/** Size of the answer at `/bulk`: 1 GiB, none of which is on a disk. */
export const bulkBytes = 1024 ** 3;

/** One worker in front of the origin. */
export function nginx(task: Task): Launch | null {
  if (task.down === "tcp" || (task.up === "http2" && task.grpc !== true)) return null;
  const servers = task.upstreams.map((port) => `server 127.0.0.1:${port};`).join(" ");
  const tls =
    task.tls === null
      ? ""
      : `ssl_certificate ${task.tls.cert}; ssl_certificate_key ${task.tls.key}; ssl_protocols TLSv1.3;`;
  const pass =
    task.grpc === true
      ? "grpc_pass grpc://origin; grpc_set_header X-Forwarded-For $remote_addr; grpc_set_header X-Request-Id $request_id;"
      : `proxy_pass http://origin; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "${task.upgrades === true ? "upgrade" : ""}";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-Id $request_id;`;
  const text = frame(
    task.work,
    `upstream origin { ${servers} keepalive 128; keepalive_requests 1000000000; keepalive_timeout 3600; }
  server {
    listen 127.0.0.1:${task.port} ${task.tls === null ? "" : "ssl"} ${task.down === "http2" ? "http2" : ""} backlog=1024; ${tls}
    client_max_body_size 0; proxy_request_buffering off;
    location / {
      ${pass}
    }
  }`,
  );
  return { command: ["nginx", "-p", task.work, "-c", put(task, "nginx.conf", text)] };
}

/**
 * The origin on the other core, its connections kept for ever: 64 bytes from memory for any path, {@link largeBytes} at
 * `/large`, {@link bulkBytes} at `/bulk`, and `/upload` answers when it has read the whole body.
 */
export async function startOrigin(work: string, ports: readonly number[]): Promise<Program> {
  const dir = path.join(work, "origin");
  fs.mkdirSync(dir, { recursive: true, mode: 0o755 });
  fs.chmodSync(work, 0o755);
  fs.writeFileSync(path.join(dir, "large"), "x".repeat(largeBytes));
  fs.writeFileSync(path.join(dir, "bulk"), "");
  fs.truncateSync(path.join(dir, "bulk"), bulkBytes);
  const file = path.join(dir, "nginx.conf");
  const body = "x".repeat(64);
  const sink = `unix:${dir}/sink`;
  const servers = ports.map(
    (port) => `server {
    listen 127.0.0.1:${port} backlog=4096; client_max_body_size 0; client_body_buffer_size 2m;
    location / { return 200 "${body}"; }
    location = /large { root ${dir}; }
    location = /bulk { root ${dir}; }
    location = /upload { proxy_pass http://${sink}:/; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
  }`,
  );
  servers.push(`server { listen ${sink}; location / { return 200 "${body}"; } }`);
  fs.writeFileSync(file, frame(dir, servers.join("\n")));
  return Program.start("origin", ["nginx", "-p", dir, "-c", file], { core: otherCore, ports });
}

function frame(dir: string, http: string): string {
  return `
daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log ${dir}/error.log;
events { worker_connections 20000; }
http {
  access_log off; default_type text/plain; sendfile on; open_file_cache max=10;
  keepalive_requests 1000000000; keepalive_timeout 3600;
  client_body_temp_path ${dir}; proxy_temp_path ${dir}; fastcgi_temp_path ${dir}; uwsgi_temp_path ${dir}; scgi_temp_path ${dir};
  ${http}
}`;
}
