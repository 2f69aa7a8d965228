/** The name cache: one question at a time, kept for the TTL, stale while it is asked again, and kept when DNS fails. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Resolver, type Address } from "../../../proxy/upstream/resolve.ts";

const one: Address = { address: "10.0.0.1", family: 4 };
const two: Address = { address: "10.0.0.2", family: 4 };

/** A directory that answers when told. */
function directory() {
  const asked: string[] = [];
  const pending: ((error: NodeJS.ErrnoException | null, found: Address[]) => void)[] = [];
  let seconds: number | null = 30;
  let nowMs = 0;
  const resolver = new Resolver({
    now: () => nowMs,
    source: {
      lookup: (host, done) => {
        asked.push(host);
        pending.push(done);
      },
      ttl: (_host, done) => done(seconds),
    },
  });
  return {
    asked,
    answer: (...found: Address[]) => pending.shift()!(null, found),
    fail: () => pending.shift()!(Object.assign(new Error("no"), { code: "EAI_AGAIN" }), []),
    setTtl: (value: number | null) => (seconds = value),
    pass: (ms: number) => (nowMs += ms),
    /** The first address, an error code, or `waiting`. */
    ask(name = "orders.internal"): string {
      let said = "waiting";
      resolver.resolve(name, (error, found) => (said = error?.code ?? found[0]!.address));
      return said;
    },
    resolver,
  };
}

test("asks once for callers that come together, and keeps the answer for its TTL", () => {
  const dns = directory();
  const said: string[] = [];
  for (let i = 0; i < 3; i++)
    dns.resolver.resolve("Orders.Internal", (_error, found) => said.push(found[0]!.address));
  assert.deepEqual(dns.asked, ["orders.internal"]);
  dns.answer(one);
  assert.deepEqual(said, ["10.0.0.1", "10.0.0.1", "10.0.0.1"]);
  dns.pass(29_999);
  assert.equal(dns.ask(), "10.0.0.1");
  assert.equal(dns.asked.length, 1);
});

test("serves an expired answer once more while it asks again", () => {
  const dns = directory();
  dns.ask();
  dns.answer(one);
  dns.pass(30_001);
  assert.equal(dns.ask(), "10.0.0.1");
  assert.equal(dns.ask(), "10.0.0.1");
  assert.equal(dns.asked.length, 2);
  dns.answer(two);
  assert.equal(dns.ask(), "10.0.0.2");
});

test("waits for a new answer when the old one is long gone", () => {
  const dns = directory();
  dns.ask();
  dns.answer(one);
  dns.pass(60_001);
  assert.equal(dns.ask(), "waiting");
});

test("keeps the last good answer when the name server fails", () => {
  const dns = directory();
  dns.ask();
  dns.answer(one);
  dns.pass(100_000);
  let said = "";
  dns.resolver.resolve(
    "orders.internal",
    (error, found) => (said = error?.code ?? found[0]!.address),
  );
  dns.fail();
  assert.equal(said, "10.0.0.1");
});

test("tells an error when no answer was ever known, and asks again next time", () => {
  const dns = directory();
  let said = "";
  dns.resolver.resolve("orders.internal", (error) => (said = error?.code ?? "none"));
  dns.fail();
  assert.equal(said, "EAI_AGAIN");
  dns.ask();
  dns.answer(one);
  assert.equal(dns.ask(), "10.0.0.1");
});

test("a name without TTL is kept for five seconds, and no TTL is longer than five minutes", () => {
  const dns = directory();
  dns.setTtl(null);
  dns.ask();
  dns.answer(one);
  dns.pass(4_999);
  dns.ask();
  assert.equal(dns.asked.length, 1);
  dns.pass(2);
  dns.ask();
  assert.equal(dns.asked.length, 2);
  dns.setTtl(1_000_000);
  dns.answer(two);
  dns.pass(300_001);
  dns.ask();
  assert.equal(dns.asked.length, 3);
});

test("addresses and localhost are never asked for", () => {
  const dns = directory();
  assert.equal(dns.ask("192.0.2.1"), "192.0.2.1");
  assert.equal(dns.ask("::1"), "::1");
  assert.equal(dns.ask("localhost"), "127.0.0.1");
  assert.equal(dns.ask("App.LOCALHOST"), "127.0.0.1");
  assert.equal(dns.asked.length, 0);
});
