import assert from "node:assert/strict";
import { test } from "node:test";
import { CacheStore } from "../../plugins/cache-store.ts";
import { definePlugin } from "../../proxy/pipeline/plugin.ts";
import { eventually } from "../support/eventually.ts";
import { createKit } from "../support/plugin-kit.ts";
import type {
  KitOptions,
  KitRequest,
  KitUpstream,
  KitUse,
  SeenRequest,
} from "../support/plugin-kit.ts";

type Test = { after(run: () => Promise<void>): void };

/** A kit whose service answers with the number of the request, and the head that is set at the time. */
async function kitOf(t: Test, options: object = {}, inner: KitUse[] = [], more: KitOptions = {}) {
  const service = { answer: { headers: {} } as KitUpstream, seen: [] as SeenRequest[] };
  const kit = await createKit([{ use: "cache", options }, ...inner], {
    ...more,
    upstream: (seen) => {
      service.seen.push(seen);
      return { body: `answer ${service.seen.length}`, ...service.answer };
    },
  });
  t.after(() => kit.close());
  const ask = async (request: KitRequest = {}) => {
    const answer = await kit.request(request);
    return { ...answer, text: answer.body.toString() };
  };
  const pass = (seconds: number) => {
    kit.nowMs += seconds * 1000;
    kit.wallMs += seconds * 1000;
  };
  const headers = (fields: Record<string, string>) => (service.answer = { headers: fields });
  return { kit, service, ask, pass, headers };
}

const fresh = { "cache-control": "max-age=60" };

test("a fresh answer is given again, with its age, until it is stale", async (t) => {
  const { service, ask, pass, headers } = await kitOf(t);
  headers({ ...fresh, "x-own": "1" });
  const first = await ask({ path: "/a?q=1" });
  assert.equal(first.headers["cache-status"], "weft; fwd=miss; stored");
  pass(59);
  const second = await ask({ path: "/a?q=1" });
  assert.equal(second.text, "answer 1");
  assert.equal(second.wasSync, true);
  assert.equal(second.headers["age"], "59");
  assert.equal(second.headers["x-own"], "1");
  assert.equal(second.headers["cache-status"], "weft; hit; ttl=1");
  assert.equal((await ask({ path: "/a?q=2" })).text, "answer 2");
  pass(2);
  assert.equal((await ask({ path: "/a?q=1" })).text, "answer 3");
  assert.equal(service.seen.length, 3);
});

test("ttl is the lifetime of answers that say none; without it they are not kept", async (t) => {
  const with60 = await kitOf(t, { ttl: "60s" });
  await with60.ask();
  with60.pass(30);
  assert.equal((await with60.ask()).text, "answer 1");
  with60.pass(31);
  assert.equal((await with60.ask()).text, "answer 2");
  const without = await kitOf(t);
  await without.ask();
  assert.equal((await without.ask()).text, "answer 2");
});

for (const [what, response, request] of [
  ["no-store", { "cache-control": "no-store, max-age=60" }, {}],
  ["private", { "cache-control": "private, max-age=60" }, {}],
  ["a cookie", { ...fresh, "set-cookie": "a=1" }, {}],
  ["Vary: *", { ...fresh, vary: "*" }, {}],
  ["a credential", fresh, { headers: { authorization: "Bearer x" } }],
  ["a consumer", fresh, { consumer: { name: "acme", plan: null, groups: [] } }],
  ["a range", fresh, { headers: { range: "bytes=0-1" } }],
  ["a caller's no-store", fresh, { headers: { "cache-control": "no-store" } }],
  ["another method", fresh, { method: "POST", body: "x" }],
] as const) {
  test(`${what}: nothing is kept`, async (t) => {
    const { ask, headers } = await kitOf(t);
    headers(response);
    await ask(request as KitRequest);
    assert.equal((await ask(request as KitRequest)).text, "answer 2");
    assert.equal((await ask()).text, "answer 3");
  });
}

test("an answer for everyone is kept though its caller had a credential", async (t) => {
  const { ask, headers } = await kitOf(t);
  headers({ "cache-control": "public, max-age=60" });
  await ask({ headers: { authorization: "Bearer x" } });
  assert.equal((await ask()).text, "answer 1");
});

test("variants by what Vary names", async (t) => {
  const { ask, headers } = await kitOf(t);
  headers({ ...fresh, vary: "Accept-Language, X-B" });
  const de = { headers: { "accept-language": "de" } };
  await ask(de);
  assert.equal((await ask({ headers: { "accept-language": "en" } })).text, "answer 2");
  assert.equal((await ask()).text, "answer 3");
  assert.equal((await ask(de)).text, "answer 1");
});

test("a stale answer is asked about, and 304 renews it; the caller's own condition is met from it", async (t) => {
  const { service, ask, pass, headers } = await kitOf(t);
  headers({ ...fresh, etag: '"1"', "x-old": "1", "x-both": "1" });
  await ask();
  pass(61);
  service.answer = { status: 304, headers: { ...fresh, etag: '"1"', "x-both": "2" }, body: "" };
  const renewed = await ask({ headers: { "if-none-match": '"other"' } });
  assert.equal(service.seen[1]!.headers["if-none-match"], '"1"');
  assert.equal(renewed.status, 200);
  assert.equal(renewed.text, "answer 1");
  assert.equal(renewed.headers["x-old"], "1");
  assert.equal(renewed.headers["x-both"], "2");
  pass(30);
  const same = await ask({ headers: { "if-none-match": 'W/"1", "2"' } });
  assert.equal(same.status, 304);
  assert.equal(same.text, "");
  assert.equal(service.seen.length, 2);
});

test("HEAD is answered from what GET left", async (t) => {
  const { ask, headers } = await kitOf(t);
  headers(fresh);
  await ask();
  const head = await ask({ method: "HEAD" });
  assert.equal(head.seen, null);
  assert.equal(head.headers["age"], "0");
});

test("stale-if-error: what is kept stands in for a service that fails", async (t) => {
  const { service, ask, pass, headers } = await kitOf(t);
  headers({ "cache-control": "max-age=10, stale-if-error=100" });
  await ask();
  pass(50);
  service.answer = { status: 503, body: "away" };
  const stood = await ask();
  assert.equal(stood.status, 200);
  assert.equal(stood.text, "answer 1");
  assert.equal(stood.headers["age"], "50");
  pass(100);
  assert.equal((await ask()).status, 503);
});

test("stale-while-revalidate: the stale answer at once, the service asked beside it, once", async (t) => {
  const { service, ask, pass, headers } = await kitOf(t);
  headers({ "cache-control": "max-age=10, stale-while-revalidate=100", etag: '"1"' });
  await ask();
  pass(20);
  const [one, two] = await Promise.all([ask(), ask()]);
  assert.deepEqual([one!.text, two!.text], ["answer 1", "answer 1"]);
  assert.equal(one!.wasSync, true);
  assert.equal(service.seen.length, 2);
  assert.equal(service.seen[1]!.headers["if-none-match"], '"1"');
  const after = await ask();
  assert.equal(after.text, "answer 2");
  assert.equal(after.headers["age"], "0");
  pass(20);
  service.answer = {
    status: 304,
    headers: { etag: '"1"', "cache-control": "max-age=50" },
    body: "",
  };
  await ask();
  pass(40);
  assert.equal((await ask()).text, "answer 2");
  assert.equal(service.seen.length, 3);
  pass(200);
  headers({ "cache-control": "max-age=10" });
  assert.equal((await ask()).text, "answer 4");
});

/** Holds requests on their way to the service. */
function holding() {
  const waiting: (() => void)[] = [];
  const plugin = definePlugin({
    name: "hold",
    stage: "transform",
    after: ["cache"],
    setup: () => ({ request: () => new Promise<void>((goOn) => waiting.push(goOn)) }),
  });
  return { plugin, waiting };
}

test("requests for the same wait for one; those whose answer is not kept do not wait again", async (t) => {
  const { plugin, waiting } = holding();
  const { service, ask, headers } = await kitOf(t, {}, [{ use: plugin }]);
  headers(fresh);
  const all = Array.from({ length: 20 }, () => ask());
  assert.equal(waiting.length, 1);
  waiting.shift()!();
  assert.deepEqual(
    new Set((await Promise.all(all)).map(({ text }) => text)),
    new Set(["answer 1"]),
  );
  assert.equal(service.seen.length, 1);
  headers({});
  const others = Array.from({ length: 3 }, () => ask({ path: "/own" }));
  waiting.shift()!();
  await others[0];
  assert.equal(waiting.length, 2);
  for (const goOn of waiting.splice(0)) goOn();
  assert.equal(new Set((await Promise.all(others)).map(({ text }) => text)).size, 3);
  const later = [ask({ path: "/own" }), ask({ path: "/own" })];
  assert.equal(waiting.length, 2);
  for (const goOn of waiting) goOn();
  await Promise.all(later);
});

test("what one worker keeps all have, and those that come together wait over all workers", async (t) => {
  const { plugin, waiting } = holding();
  const one = await kitOf(t, {}, [{ use: plugin }]);
  const sibling = { sibling: one.kit };
  const two = await kitOf(t, {}, [{ use: plugin }], sibling);
  // another thread's clock starts at another time
  two.kit.nowMs = 5;
  for (const { headers } of [one, two]) headers(fresh);
  const all = [one.ask(), two.ask(), two.ask(), one.ask()];
  assert.equal(waiting.length, 1);
  waiting.shift()!();
  assert.deepEqual(
    (await Promise.all(all)).map(({ text }) => text),
    ["answer 1", "answer 1", "answer 1", "answer 1"],
  );
  assert.deepEqual([one.service.seen.length, two.service.seen.length], [1, 0]);
  for (const { pass } of [one, two]) pass(59);
  const late = await two.ask();
  assert.deepEqual([late.headers["age"], late.headers["cache-status"]], ["59", "weft; hit; ttl=1"]);

  // an answer that is not kept: nobody waits for the next one, in no worker
  for (const { headers } of [one, two]) headers({});
  const own = [one.ask({ path: "/own" }), two.ask({ path: "/own" })];
  assert.equal(waiting.length, 1);
  waiting.shift()!();
  await eventually("the other one to ask itself", () => waiting.length === 1);
  waiting.shift()!();
  await Promise.all(own);
  const next = [one.ask({ path: "/own" }), two.ask({ path: "/own" })];
  assert.equal(waiting.length, 2);
  for (const goOn of waiting.splice(0)) goOn();
  await Promise.all(next);
});

test("an unsafe method empties its path with all queries, and what the answer points to, for all workers", async (t) => {
  const { service, ask, headers } = await kitOf(t);
  headers(fresh);
  for (const path of ["/a?x=1", "/a", "/b", "/c"]) await ask({ path });
  service.answer = { status: 201, headers: { location: "/b" } };
  await ask({ method: "POST", path: "/a", body: "x" });
  headers(fresh);
  for (const path of ["/a?x=1", "/a", "/b"])
    assert.match((await ask({ path })).text, /answer [678]/);
  assert.equal((await ask({ path: "/c" })).text, "answer 4");
  service.answer = { status: 400 };
  await ask({ method: "DELETE", path: "/c" });
  assert.equal((await ask({ path: "/c" })).text, "answer 4");
});

test("an answer that was under way during a change is not used", async (t) => {
  const { plugin, waiting } = holding();
  const { ask, headers } = await kitOf(t, {}, [{ use: plugin, when: 'method == "GET"' } as KitUse]);
  headers(fresh);
  const early = ask();
  await ask({ method: "PUT", body: "x" });
  waiting.shift()!();
  const { text } = await early;
  const next = ask();
  waiting.shift()!();
  assert.notEqual((await next).text, text);
});

test("it holds no more than its size, and the least used goes first", async (t) => {
  const { kit, service, ask } = await kitOf(t, { size: "64KiB" });
  service.answer = { headers: fresh, body: "x".repeat(6000) };
  for (let i = 0; i < 12; i++) {
    await ask({ path: `/${i}` });
    await ask({ path: "/0" });
  }
  const before = service.seen.length;
  await ask({ path: "/0" });
  assert.equal(service.seen.length, before);
  await ask({ path: "/1" });
  assert.equal(service.seen.length, before + 1);
  // an eighth of it is the most for one
  service.answer = { headers: fresh, body: ["y".repeat(5000), "y".repeat(5000)] };
  await ask({ path: "/large" });
  await ask({ path: "/large" });
  assert.equal(service.seen.length, before + 3);
  assert.equal(kit.count("plugin_errors", "cache"), 0);
  const store = new CacheStore(1000);
  assert.equal(store.bytes, 0);
});

test("a caller who wants only what is kept gets 504 when nothing is", async (t) => {
  const { ask } = await kitOf(t);
  assert.equal((await ask({ headers: { "cache-control": "only-if-cached" } })).status, 504);
});
