/** Event streams and long polling over all four crossings: every piece at once, and no clock but that of silence. */

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import type { Readable, Writable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { eventually, within } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

/** What limits the time to a head here; everything below outlives it. */
const timeoutMs = 1000;

let gateway: Gateway;
let h1: http.Server;
let h2: http2.Http2Server;
/** The answer that `/events` has under way. */
let writing: Writable | null = null;
let polled: (() => void) | null = null;

type Req = http.IncomingMessage | http2.Http2ServerRequest;
type Res = http.ServerResponse | http2.Http2ServerResponse;

/** `/events` is written by the test; `/poll` sends its head at once and its body when told to; `/late` sends its head when told to. */
function serve(req: Req, res: Res): void {
  const answer = res as http.ServerResponse;
  req.resume();
  if (req.url === "/events") {
    answer.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    answer.flushHeaders?.();
    writing = answer;
  } else if (req.url === "/poll") {
    answer.writeHead(200, { "content-type": "application/json" });
    answer.flushHeaders?.();
    polled = () => answer.end('{"news":1}');
  } else {
    polled = () => {
      answer.writeHead(200);
      answer.end("late");
    };
  }
}

before(async () => {
  h1 = http.createServer(serve);
  h2 = http2.createServer(serve);
  for (const server of [h1, h2]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  const port = (server: http.Server | http2.Http2Server): number =>
    (server.address() as AddressInfo).port;
  gateway = await Gateway.start({
    config: ({ port: free, admin }) => `
admin: { address: "127.0.0.1:${admin}" }
workers: 1
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${free[0]} }] }
services:
  h1: { endpoints: ["127.0.0.1:${port(h1)}"] }
  h2: { endpoints: ["127.0.0.1:${port(h2)}"], protocol: http2 }
policies:
  default: { timeout: ${timeoutMs}ms, retry: { attempts: 0 } }
routes:
  - { name: h1-late, hosts: [h1.test], match: { path: /late }, to: h1, policy: { timeout: 0s } }
  - { name: h2-late, hosts: [h2.test], match: { path: /late }, to: h2, policy: { timeout: 0s } }
  - { name: h1-plugins, hosts: [h1.plugins], to: h1, plugins: [compress] }
  - { name: h2-plugins, hosts: [h2.plugins], to: h2, plugins: [compress] }
  - { name: h1, hosts: [h1.test], to: h1 }
  - { name: h2, hosts: [h2.test], to: h2 }
`,
  });
});
after(async () => {
  await gateway?.[Symbol.asyncDispose]();
  h1?.closeAllConnections();
  h1?.close();
  h2?.close();
});

/** An answer whose head has arrived, and the body as it comes. */
interface Answer {
  readonly status: number;
  readonly body: Readable;
  close(): void;
}

async function over1(host: string, path: string): Promise<Answer> {
  const request = http.get({
    host: "127.0.0.1",
    port: gateway.port,
    path,
    agent: false,
    headers: { host, "accept-encoding": "gzip, br" },
  });
  const [response] = (await within("a head", once(request, "response"))) as [http.IncomingMessage];
  return { status: response.statusCode!, body: response, close: () => request.destroy() };
}

async function over2(host: string, path: string): Promise<Answer> {
  const session = http2.connect(`http://127.0.0.1:${gateway.port}`);
  session.on("error", () => {});
  const stream = session.request({
    ":authority": host,
    ":path": path,
    "accept-encoding": "gzip, br",
  });
  stream.on("error", () => {});
  const [head] = (await within("a head", once(stream, "response"))) as [
    http2.IncomingHttpHeaders & { ":status": number },
  ];
  return { status: head[":status"], body: stream, close: () => session.destroy() };
}

/** Text that arrives; `until` waits for a piece of it. */
function textOf(body: Readable): { until(part: string): Promise<void> } {
  let text = "";
  let wake = (): void => {};
  body.on("data", (chunk: Buffer) => {
    text += chunk.toString();
    wake();
  });
  body.on("error", () => {});
  body.on("close", () => wake());
  return {
    async until(part) {
      while (!text.includes(part)) {
        assert.ok(!body.closed, `the stream is gone, without ${part}; got ${text}`);
        await within(part, new Promise<void>((resolve) => (wake = resolve)));
      }
    },
  };
}

for (const [caller, ask] of [
  ["HTTP/1.1", over1],
  ["HTTP/2", over2],
] as const) {
  for (const service of ["h1", "h2"] as const) {
    describe(`${caller} to ${service}`, () => {
      for (const host of [`${service}.test`, `${service}.plugins`]) {
        test(`events arrive one by one, long after every time limit of a head (${host})`, async () => {
          const startMs = performance.now();
          const answer = await ask(host, "/events");
          assert.equal(answer.status, 200);
          const text = textOf(answer.body);
          // the next event is sent when the last one is there: nothing may wait for company
          for (let i = 0; performance.now() < startMs + 1.5 * timeoutMs || i < 100; i++) {
            writing!.write(`data: event ${i}\n\n`);
            await text.until(`event ${i}\n\n`);
          }
          let isGone = false;
          writing!.once("close", () => (isGone = true));
          answer.close();
          // over HTTP/1.1 a FIN may be but half an end: what is written to it tells
          await eventually("the service to hear that its caller is gone", () => {
            if (!isGone) writing!.write("data: anybody?\n\n");
            return isGone;
          });
        });
      }

      test("a poll whose head came waits for its body as long as it takes", async () => {
        const startMs = performance.now();
        const answer = await ask(`${service}.test`, "/poll");
        const text = textOf(answer.body);
        await elapsed(startMs + 1.5 * timeoutMs);
        polled!();
        await text.until('{"news":1}');
        answer.close();
      });

      test("a poll without a head waits where the policy sets no timeout", async () => {
        const startMs = performance.now();
        const asked = ask(`${service}.test`, "/late");
        await elapsed(startMs + 1.5 * timeoutMs);
        polled!();
        const answer = await asked;
        assert.equal(answer.status, 200);
        await textOf(answer.body).until("late");
        answer.close();
      });
    });
  }
}

/** Lets exchanges on the same gateway go by until then: its clock has turned. */
async function elapsed(untilMs: number): Promise<void> {
  while (performance.now() < untilMs)
    await (await fetch(`http://127.0.0.1:${gateway.admin}/livez`)).arrayBuffer();
}
