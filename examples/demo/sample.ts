/** What the demo's services have in common: a tiny JSON server on node:http, and calls to other services through the sidecar. */

import http from "node:http";

/** What a service answers with. */
export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** Who is asked: the service's own name, this instance, and the caller as the sidecar verified it. */
export interface Self {
  readonly service: string;
  readonly instance: string;
  readonly peer: string | null;
}

type Handler = (self: Self) => Answer | Promise<Answer>;

/**
 * Serves `handlers` by path on 127.0.0.1. The environment says the rest: `PORT`, `INSTANCE`.
 * The sidecar in front has checked who calls and tells it in `x-weft-peer`; what a caller says about itself in that
 * header never gets through.
 */
export function serve(service: string, handlers: Readonly<Record<string, Handler>>): void {
  const instance = process.env.INSTANCE ?? service;
  const server = http.createServer((request, response) => {
    request.resume();
    const path = (request.url ?? "/").split("?")[0] ?? "/";
    const handler = path === "/healthz" ? healthy : handlers[path];
    const peer = request.headers["x-weft-peer"];
    const self = { service, instance, peer: typeof peer === "string" ? peer : null };
    Promise.resolve(handler?.(self) ?? { status: 404, body: { service, error: `no ${path} here` } })
      .catch((error: unknown) => ({ status: 502, body: { service, error: String(error) } }))
      .then(({ status, body }) => {
        response.writeHead(status, { "content-type": "application/json" });
        response.end(`${JSON.stringify(body, null, 2)}\n`);
      });
  });
  server.keepAliveTimeout = 60_000;
  server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
  process.on("SIGTERM", () => process.exit(0));
}

const healthy: Handler = () => ({ status: 200, body: { ok: true } });

/**
 * Calls another service by its name. Plain HTTP to the sidecar beside us, which finds an endpoint, speaks mTLS to the
 * sidecar there, and retries when it may: nothing of that is in this code.
 */
export function call(service: string, path: string): Promise<Answer> {
  const [host, port] = (process.env.SIDECAR ?? "127.0.0.1:15001").split(":");
  return new Promise((resolve, reject) => {
    const request = http.get(
      { host, port, path, headers: { host: service }, timeout: 5000 },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          resolve({ status: response.statusCode ?? 0, body: toJson(text) });
        });
      },
    );
    request.on("timeout", () => request.destroy(new Error(`${service}${path}: no answer in 5 s`)));
    request.on("error", reject);
  });
}

function toJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
