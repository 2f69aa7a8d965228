import assert from "node:assert/strict";
import { test } from "node:test";
import { AccessLog, createAccessLog } from "../../../proxy/observe/access-log.ts";
import type { AccessLogOptions } from "../../../proxy/observe/access-log.ts";
import type { DoneInfo } from "../../../proxy/pipeline/plugin.ts";
import { PluginKit } from "../../support/plugin-kit.ts";
import type { KitRequest } from "../../support/plugin-kit.ts";

const kit = new PluginKit({ route: "orders" });
const info = (more: Partial<DoneInfo> = {}): DoneInfo => ({
  status: 200,
  code: null,
  durationMs: 12.3456,
  requestBytes: 10,
  responseBytes: 20,
  attempts: 1,
  endpoint: "127.0.0.1:3001",
  end: "complete",
  detail: "",
  ...more,
});
const json: AccessLogOptions = { format: "json", when: null, sample: 1, fields: [] };

function lines(options: AccessLogOptions | null, ...exchanges: [KitRequest, DoneInfo][]): string[] {
  const texts: string[] = [];
  const source = { write: (text: string) => texts.push(text), wallNow: () => 0, random: () => 0.5 };
  const log = new AccessLog(options, source);
  for (const [request, end] of exchanges) log.log(kit.exchange(request), end);
  log.flush();
  return texts.join("").split("\n").slice(0, -1);
}

test("a JSON line says who asked what and how it went", () => {
  const consumer = { name: "acme", plan: null, groups: [] };
  const peer = { id: "spiffe://weft.local/service/web", trustDomain: "weft.local", service: "web" };
  const headers = { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` };
  const [line] = lines(json, [{ path: "/o?k=secret", consumer, peer, headers }, info()]);
  assert.deepEqual(JSON.parse(line!), {
    time: "1970-01-01T00:00:00.000Z",
    id: "id-1",
    mode: "gateway",
    client: "192.0.2.1",
    method: "GET",
    host: "example.com",
    path: "/o",
    status: 200,
    code: null,
    durationMs: 12.346,
    requestBytes: 10,
    responseBytes: 20,
    route: "orders",
    service: "service",
    endpoint: "127.0.0.1:3001",
    attempts: 1,
    end: "complete",
    peer: peer.id,
    consumer: "acme",
    trace: "a".repeat(32),
  });
});

test("what a caller sends stays one line that can be read", () => {
  const path = '/a"\\\u0001\n{"status":500}';
  for (const format of ["json", "text"] as const) {
    const written = lines({ ...json, format }, [{ path }, info()]);
    assert.equal(written.length, 1);
    if (format === "json") assert.equal((JSON.parse(written[0]!) as { path: string }).path, path);
  }
});

test("a text line names route, service and endpoint", () => {
  const end = info({ code: "upstream-reset", status: 502, detail: "read 127.0.0.1: reset" });
  const [line] = lines({ ...json, format: "text" }, [{}, end]);
  assert.match(line!, /"GET example\.com\/" 502 upstream-reset 12\.346ms/);
  assert.match(line!, /route=orders service=service endpoint=127\.0\.0\.1:3001/);
  assert.match(line!, /detail="read 127\.0\.0\.1: reset"/);
});

test("when it is off, weft's own 5xx are logged all the same, a service's are not", () => {
  const own = info({ status: 503, code: "no-endpoint" });
  const theirs = info({ status: 503 });
  const refused = info({ status: 401, code: "unauthenticated" });
  const written = lines(null, [{}, own], [{}, theirs], [{}, refused], [{}, info()]);
  assert.equal(written.length, 1);
  assert.match(written[0]!, /no-endpoint/);
});

test("a sample leaves out its share, never weft's own 5xx", () => {
  assert.equal(lines({ ...json, sample: 0.4 }, [{}, info()]).length, 0);
  assert.equal(lines({ ...json, sample: 0.6 }, [{}, info()]).length, 1);
  const own = info({ status: 500, code: "plugin-error" });
  assert.equal(lines({ ...json, sample: 0 }, [{}, own]).length, 1);
});

test("lines wait for others and go out together, a full batch at once", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const texts: string[] = [];
  const source = { write: (text: string) => texts.push(text), wallNow: () => 0, random: () => 0 };
  const log = new AccessLog(json, source);
  log.log(kit.exchange(), info());
  log.log(kit.exchange(), info());
  assert.equal(texts.length, 0);
  t.mock.timers.tick(50);
  assert.equal(texts.length, 1);
  assert.equal(texts[0]!.split("\n").length, 3);
  for (let i = 0; i < 100; i++) log.log(kit.exchange(), info());
  assert(texts.length > 1);
});

test("a condition decides with the end of the exchange in view", async () => {
  const texts: string[] = [];
  const source = { write: (text: string) => texts.push(text), wallNow: () => 0, random: () => 0 };
  const config = { format: "json", when: 'status >= 400 && path != "/health"', sample: 1 } as const;
  const log = await createAccessLog(config, source);
  log.log(kit.exchange(), info());
  log.log(kit.exchange({ path: "/health" }), info({ status: 404 }));
  log.log(kit.exchange(), info({ status: 404 }));
  log.flush();
  assert.equal(texts.length, 1);
});
