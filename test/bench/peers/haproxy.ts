/** HAProxy as a contestant: the base of most ratios. */

import fs from "node:fs";
import { put, type Launch, type Task } from "./task.ts";

/** One thread in front of the origin. */
export function haproxy(task: Task): Launch {
  let tls = "";
  if (task.tls !== null) {
    const both = fs.readFileSync(task.tls.cert, "utf8") + fs.readFileSync(task.tls.key, "utf8");
    tls = ` ssl crt ${put(task, "both.pem", both)} ssl-min-ver TLSv1.3`;
  }
  const up = task.up === "http2" ? " proto h2" : "";
  const down = task.down === "http2" ? " proto h2" : "";
  const servers = task.upstreams.map((port, i) => `  server s${i} 127.0.0.1:${port}${up}`);
  const isTcp = task.down === "tcp";
  const http = isTcp
    ? ""
    : `option forwardfor
  http-reuse always`;
  const id = isTcp
    ? ""
    : `unique-id-format %[uuid()]
  unique-id-header X-Request-Id`;
  const text = `
global
  nbthread 1
  no strict-limits
  maxconn 12000
defaults
  mode ${isTcp ? "tcp" : "http"}
  maxconn 12000
  timeout connect 5s
  timeout client 600s
  timeout server 60s
  timeout tunnel 600s
  ${http}
  retries 1
frontend web
  bind 127.0.0.1:${task.port}${tls}${down} backlog 4096
  ${id}
  default_backend origin
backend origin
  balance roundrobin
${servers.join("\n")}
`;
  return { command: ["haproxy", "-db", "-f", put(task, "haproxy.cfg", text)] };
}
