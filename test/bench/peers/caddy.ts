/** Caddy as a contestant. */

import { put, type Launch, type Task } from "./task.ts";

/** No access log; GOMAXPROCS 1, as the others have one thread. */
export function caddy(task: Task): Launch | null {
  if (task.down === "tcp") return null;
  const upScheme = task.up === "http2" ? "h2c" : "http";
  const upstreams = task.upstreams.map((port) => `${upScheme}://127.0.0.1:${port}`).join(" ");
  const scheme = task.tls === null ? "http" : "https";
  const tls =
    task.tls === null ? "" : `tls ${task.tls.cert} ${task.tls.key} { \n protocols tls1.3 \n }`;
  const file = put(
    task,
    "Caddyfile",
    `{
  admin off
  auto_https off
  persist_config off
  servers { 
    protocols ${task.down === "http2" ? "h1 h2c" : "h1"}
    timeouts {
      idle 10m
    }
  }
  log {
    level ERROR
  }
}
${scheme}://127.0.0.1:${task.port}, ${scheme}://localhost:${task.port} {
  bind 127.0.0.1
  ${tls}
  reverse_proxy ${upstreams} {
    lb_policy round_robin
    lb_retries 1
    header_up X-Request-Id {http.request.uuid}
    transport http {
      keepalive_idle_conns_per_host 256
    }
  }
}
`,
  );
  return {
    command: ["caddy", "run", "--adapter", "caddyfile", "--config", file],
    env: { GOMAXPROCS: "1", HOME: task.work, XDG_DATA_HOME: task.work, XDG_CONFIG_HOME: task.work },
  };
}
