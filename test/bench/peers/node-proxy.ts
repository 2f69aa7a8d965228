/** One of the proxies built on Node's HTTP stack: `node node-proxy.ts KIND PACKAGES LISTEN UPSTREAM...` */

import crypto from "node:crypto";
import http from "node:http";
import http2 from "node:http2";
import { createRequire } from "node:module";
import path from "node:path";
import type { Duplex, Readable } from "node:stream";

/** The little of each package that is used here: none of them is installed where types are checked. */
interface HttpProxy {
  createProxyServer(options: object): {
    web(req: http.IncomingMessage, res: http.ServerResponse, options: object): void;
    ws(req: http.IncomingMessage, socket: Duplex, head: Buffer, options: object): void;
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
    dispatch(options: object, handler: object): boolean;
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

/** Fields of HTTP/1.1 that HTTP/2 has not. */
const ofOneHop = ["connection", "keep-alive", "transfer-encoding"];

function serve(listener: http.RequestListener): http.Server {
  const server = http.createServer({ keepAliveTimeout: 600_000 }, listener);
  return server.listen(port, "127.0.0.1");
}

function httpProxy(name: string): void {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 256, maxFreeSockets: 256 });
  const proxy = (require(name) as HttpProxy).createProxyServer({ agent, xfwd: true });
  proxy.on("error", (_error, _req, res) => res.writeHead(502).end());
  serve((req, res) => {
    req.headers["x-request-id"] = crypto.randomUUID();
    proxy.web(req, res, { target: origins[next()] });
  }).on("upgrade", (req, socket, head) => {
    proxy.ws(req, socket, head, { target: origins[next()] });
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

/** The fastest that can be made of the two: streams of HTTP/2 to undici's lowest layer. */
function http2Undici(): void {
  const { Pool } = require("undici") as Undici;
  const pools = origins.map((origin) => new Pool(origin, { connections: 256 }));
  const server = http2.createServer();
  server.on("stream", (stream: http2.ServerHttp2Stream, headers, flags) => {
    stream.on("error", () => {});
    const fields: Record<string, unknown> = {
      host: headers[":authority"],
      "x-request-id": crypto.randomUUID(),
      "x-forwarded-for": stream.session?.socket.remoteAddress ?? "",
    };
    for (const name in headers) if (name.charCodeAt(0) !== 58) fields[name] = headers[name];
    const endsWithHead = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const options = {
      path: headers[":path"],
      method: headers[":method"],
      headers: fields,
      body: endsWithHead ? null : stream,
    };
    pools[next()]!.dispatch(options, {
      onRequestStart() {},
      onResponseStart(_controller: unknown, status: number, answer: http.OutgoingHttpHeaders) {
        const out: http2.OutgoingHttpHeaders = { ...answer, ":status": status };
        for (const name of ofOneHop) delete out[name];
        stream.respond(out);
      },
      onResponseData: (_controller: unknown, chunk: Buffer) => stream.write(chunk),
      onResponseEnd: () => stream.end(),
      onResponseError: () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
    });
  });
  server.listen(port, "127.0.0.1");
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
  "http2-undici": http2Undici,
  fastify,
};
kinds[kind]!(kind);
