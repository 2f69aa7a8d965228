/** HTTP/1.1 and HTTP/2 on either side: bodies byte for byte, slow readers, trailers, aborts, many at once. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import fs from "node:fs";
import type net from "node:net";
import type { Readable, Writable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

const MIB = 1024 * 1024;
/** More than the windows and socket buffers on the way hold. */
const LARGE = 32 * MIB;

let gateway: Gateway;
let aborted = 0;
/** What `/flood` has handed to its socket. */
let flooded = 0;
let stopFlood: (() => void) | null = null;
let releaseSlow: (() => void) | null = null;
let slowRead = 0;

type Req = http.IncomingMessage | http2.Http2ServerRequest;
type Res = http.ServerResponse | http2.Http2ServerResponse;

/** Bytes that no shift or repetition leaves as they are. */
function pattern(from: number, length: number): Buffer {
  const chunk = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) chunk[i] = ((from + i) * 2654435761) >>> 24;
  return chunk;
}
const block = pattern(0, 1 << 16);

function hashOf(stream: Readable): Promise<{ hash: string; length: number }> {
  const hash = createHash("sha256");
  let length = 0;
  return new Promise((resolve, reject) => {
    stream.on("data", (chunk: Buffer) => {
      hash.update(chunk);
      length += chunk.length;
    });
    stream.on("end", () => resolve({ hash: hash.digest("hex"), length }));
    stream.on("error", reject);
  });
}

async function writeBlocks(stream: Writable, count: number): Promise<string> {
  const hash = createHash("sha256");
  for (let i = 0; i < count; i++) {
    hash.update(block);
    if (!stream.write(block)) await once(stream, "drain");
  }
  stream.end();
  return hash.digest("hex");
}

async function serve(request: Req, response: Res): Promise<void> {
  const out = response as http.ServerResponse;
  out.on("close", () => {
    if (request.url === "/hang") aborted++;
  });
  switch (request.url) {
    case "/bulk": {
      out.setHeader("content-length", LARGE);
      await writeBlocks(out, LARGE / block.length);
      return;
    }
    case "/flood": {
      let isOver = false;
      flooded = 0;
      out.on("close", () => (isOver = true));
      stopFlood = () => (isOver = true);
      while (!isOver) {
        flooded += block.length;
        if (!out.write(block)) await Promise.race([once(out, "drain"), once(out, "close")]);
        else await turn();
      }
      out.end();
      return;
    }
    case "/slow": {
      slowRead = 0;
      await new Promise<void>((resolve) => (releaseSlow = resolve));
      const { length } = await hashOf(request as Readable);
      slowRead = length;
      out.end(String(length));
      return;
    }
    case "/trailers": {
      out.setHeader("trailer", "x-sum");
      out.write("body");
      out.addTrailers({ "x-sum": "42" });
      out.end();
      return;
    }
    case "/hang":
      out.write("start");
      return;
    case "/cut":
      out.write("start");
      setImmediate(() => out.destroy());
      return;
    default: {
      const { hash, length } = await hashOf(request as Readable);
      out.setHeader("x-length", length);
      out.end(hash);
    }
  }
}

const handler = (request: Req, response: Res): void => {
  serve(request, response).catch(() => {});
};
const servers = {
  h1: http.createServer(handler),
  h2: http2.createServer(
    handler as (a: http2.Http2ServerRequest, b: http2.Http2ServerResponse) => void,
  ),
};
const sessions: (http2.Http2Session | net.Socket)[] = [];
const port = (server: unknown): number =>
  ((server as net.Server).address() as net.AddressInfo).port;

before(async () => {
  for (const server of Object.values(servers)) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  servers.h1.on("connection", (socket) => sessions.push(socket));
  servers.h2.on("session", (session) => {
    session.on("error", () => {});
    sessions.push(session);
  });
  gateway = await Gateway.start({
    config: ({ port: free, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${free[0]} }] }
services:
  h1: { endpoints: ["127.0.0.1:${port(servers.h1)}"] }
  h2: { endpoints: ["127.0.0.1:${port(servers.h2)}"], protocol: http2 }
routes:
  - { name: h1, hosts: [h1.test], to: h1, policy: { retry: { attempts: 0 } } }
  - { name: h2, hosts: [h2.test], to: h2, policy: { retry: { attempts: 0 } } }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  stopFlood?.();
  await gateway.stop();
  for (const session of sessions) session.destroy();
  for (const server of Object.values(servers)) server.close();
});

/** A request under way, whatever it goes over. */
interface Call {
  readonly out: Writable;
  readonly answer: Promise<{
    readonly status: number;
    readonly body: Readable;
    readonly trailers: () => unknown;
  }>;
  abort(): void;
}

function call(from: "h1" | "h2", host: string, method: string, path: string): Call {
  if (from === "h1") {
    const request = http.request({
      port: gateway.port,
      host: "127.0.0.1",
      method,
      path,
      agent: false,
      headers: { host },
    });
    request.on("error", () => {});
    const answer = once(request, "response").then(([message]) => {
      const body = message as http.IncomingMessage;
      return { status: body.statusCode!, body, trailers: () => ({ ...body.trailers }) };
    });
    return { out: request, answer, abort: () => void request.socket?.resetAndDestroy() };
  }
  const session = http2.connect(`http://127.0.0.1:${gateway.port}`);
  session.on("error", () => {});
  const stream = session.request(
    { ":method": method, ":path": path, ":authority": host },
    { endStream: false },
  );
  stream.on("close", () => session.close());
  stream.on("error", () => {});
  let trailers: http2.IncomingHttpHeaders = {};
  stream.on("trailers", (fields) => (trailers = fields));
  const answer = once(stream, "response").then(([head]) => ({
    status: Number((head as http2.IncomingHttpHeaders)[":status"]),
    body: stream as Readable,
    trailers: () => ({ ...trailers }),
  }));
  return {
    out: stream,
    answer,
    abort: () => {
      stream.close(http2.constants.NGHTTP2_CANCEL);
    },
  };
}

function residentMiB(): number {
  const status = fs.readFileSync(`/proc/${gateway.child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
}

for (const from of ["h1", "h2"] as const)
  for (const to of ["h1", "h2"] as const)
    describe(`${from} to ${to}:`, () => {
      const host = `${to}.test`;

      test("32 MiB down, byte for byte", async () => {
        const one = call(from, host, "GET", "/bulk");
        one.out.end();
        const { body, status } = await one.answer;
        const { hash, length } = await hashOf(body);
        const expected = createHash("sha256");
        for (let i = 0; i < LARGE / block.length; i++) expected.update(block);
        assert.deepEqual([status, length, hash], [200, LARGE, expected.digest("hex")]);
      });

      test("32 MiB up, byte for byte", async () => {
        const one = call(from, host, "POST", "/hash");
        const [expected, { body, status }] = await Promise.all([
          writeBlocks(one.out, LARGE / block.length),
          one.answer,
        ]);
        assert.equal(status, 200);
        assert.equal(String(Buffer.concat(await body.toArray())), expected);
      });

      test("a caller that stops reading stops the service, and weft keeps little", async () => {
        const before = residentMiB();
        const one = call(from, host, "GET", "/flood");
        one.out.end();
        const { body } = await one.answer;
        body.pause();
        const end = await settled(() => flooded);
        assert.ok(end < 64 * MIB, `the service was let send ${end} bytes`);
        assert.ok(residentMiB() - before < 128, `memory grew by ${residentMiB() - before} MiB`);
        body.on("data", () => {});
        body.resume();
        await eventually("the flow to go on", () => flooded > end + 4 * MIB);
        stopFlood!();
        one.abort();
      });

      test("a service that stops reading stops the caller; then every byte arrives", async () => {
        const one = call(from, host, "POST", "/slow");
        let written = 0;
        const all = (async () => {
          for (let i = 0; i < LARGE / block.length; i++) {
            written += block.length;
            if (!one.out.write(block)) await once(one.out, "drain");
          }
          one.out.end();
        })();
        const end = await settled(() => written);
        assert.ok(end < LARGE, `the caller was let send ${end} bytes`);
        releaseSlow!();
        await all;
        const { body } = await one.answer;
        assert.equal(String(Buffer.concat(await body.toArray())), String(LARGE));
        assert.equal(slowRead, LARGE);
      });

      test("trailers", async () => {
        const one = call(from, host, "GET", "/trailers");
        one.out.end();
        const { body, trailers } = await one.answer;
        assert.equal(String(Buffer.concat(await body.toArray())), "body");
        assert.equal((trailers() as http.IncomingHttpHeaders)["x-sum"], "42");
      });

      test("HEAD", async () => {
        const one = call(from, host, "HEAD", "/bulk");
        one.out.end();
        const { status, body } = await one.answer;
        assert.equal(status, 200);
        assert.equal(Buffer.concat(await body.toArray()).length, 0);
      });

      test("a caller that leaves ends the work of the service", async () => {
        const before = aborted;
        const one = call(from, host, "GET", "/hang");
        one.out.end();
        const { body } = await one.answer;
        body.on("error", () => {});
        await once(body, "data");
        one.abort();
        await eventually("the service to hear of it", () => aborted > before);
      });

      test("an answer that is cut is an error to the caller", async () => {
        const one = call(from, host, "GET", "/cut");
        one.out.end();
        const { body } = await one.answer;
        await assert.rejects(body.toArray());
      });

      test("two hundred at once", async () => {
        const statuses = await Promise.all(
          Array.from({ length: 200 }, async (_, i) => {
            const one = call(from, host, "POST", "/hash");
            one.out.end(`body ${i}`);
            const { body } = await one.answer;
            const expected = createHash("sha256").update(`body ${i}`).digest("hex");
            return String(Buffer.concat(await body.toArray())) === expected;
          }),
        );
        assert.ok(statuses.every(Boolean));
      });
    });

/** The value once it no longer changes. */
async function settled(value: () => number): Promise<number> {
  let last = -1;
  let same = 0;
  await eventually("the flow to stop", () => {
    same = value() === last ? same + 1 : 0;
    last = value();
    return last > 0 && same > 30;
  });
  return last;
}
