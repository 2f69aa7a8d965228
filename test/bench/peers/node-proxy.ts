/** One of the proxies built on Node's HTTP stack: `node node-proxy.ts KIND PACKAGES LISTEN UPSTREAM...` */

import crypto from "node:crypto";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import type { Readable } from "node:stream";

/** The little of each package that is used here: none of them is installed where types are checked. */
interface HttpProxy {
  createProxyServer(options: object): {
    web(req: http.IncomingMessage, res: http.ServerResponse, options: object): void;
    on(event: "error", listener: (e: Error, q: unknown, res: http.ServerResponse) => void): void;
  };
}
interface Undici {
  Pool: new (
    origin: string,
    options: object,
  ) => {
    request(options: object): Promise<{
      statusCode: number;
      headers: http.OutgoingHttpHeaders;
      body: Readable;
    }>;
  };
}
interface Fastify {
  register(plugin: unknown, options: object): void;
  listen(options: object): Promise<string>;
}

const [kind, packages, ...rest] = process.argv.slice(2) as [string, string, ...string[]];
const [port, ...upstreams] = rest.map(Number) as [number, ...number[]];
const require = createRequire(path.join(packages, "package.json"));
const origins = upstreams.map((each) => `http://127.0.0.1:${each}`);
let turn = 0;
const next = () => turn++ % origins.length;

function serve(listener: http.RequestListener): void {
  http.createServer({ keepAliveTimeout: 600_000 }, listener).listen(port, "127.0.0.1");
}

function httpProxy(name: string): void {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 256, maxFreeSockets: 256 });
  const proxy = (require(name) as HttpProxy).createProxyServer({ agent, xfwd: true });
  proxy.on("error", (_error, _req, res) => res.writeHead(502).end());
  serve((req, res) => {
    req.headers["x-request-id"] = crypto.randomUUID();
    proxy.web(req, res, { target: origins[next()] });
  });
}

function undici(): void {
  const { Pool } = require("undici") as Undici;
  const pools = origins.map((origin) => new Pool(origin, { connections: 256 }));
  serve((req, res) => {
    const { connection: _, "keep-alive": __, ...headers } = req.headers;
    headers["x-request-id"] = crypto.randomUUID();
    headers["x-forwarded-for"] = req.socket.remoteAddress ?? "";
    const hasBody = "content-length" in headers || "transfer-encoding" in headers;
    pools[next()]!.request({
      path: req.url,
      method: req.method,
      headers,
      body: hasBody ? req : null,
    }).then(
      (answer) => {
        const { connection: _c, ...fields } = answer.headers;
        res.writeHead(answer.statusCode, fields);
        answer.body.pipe(res);
      },
      () => res.writeHead(502).end(),
    );
  });
}

function fastify(): void {
  const make = require("fastify") as (options: object) => Fastify;
  const app = make({ keepAliveTimeout: 600_000 });
  app.register(require("@fastify/http-proxy"), {
    upstream: "",
    undici: { connections: 256 },
    replyOptions: {
      getUpstream: () => origins[next()],
      rewriteRequestHeaders: (req: http.IncomingMessage, headers: object) => ({
        ...headers,
        "x-request-id": crypto.randomUUID(),
        "x-forwarded-for": req.socket?.remoteAddress ?? "",
      }),
    },
  });
  app.listen({ port, host: "127.0.0.1" }).catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
}

const kinds: Record<string, (name: string) => void> = {
  "http-proxy": httpProxy,
  "http-proxy-3": httpProxy,
  undici,
  fastify,
};
kinds[kind]!(kind);
