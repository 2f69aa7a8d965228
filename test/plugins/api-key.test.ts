import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { test } from "node:test";
import { createKit } from "../support/plugin-kit.ts";

const consumers = [
  {
    name: "acme",
    keys: [`sha256:${hash("sha256", "key-1", "hex")}`, `sha256:${hash("sha256", "key-2", "hex")}`],
    plan: "gold",
    groups: ["partners"],
  },
  {
    name: "bad",
    keys: [`sha256:${hash("sha256", "key-3", "hex")}`],
    plan: null,
    groups: ["banned"],
  },
];

async function kitOf(
  t: { after(run: () => Promise<void>): void },
  ...uses: Parameters<typeof createKit>[0]
) {
  const kit = await createKit(uses, { consumers });
  t.after(() => kit.close());
  return kit;
}

test("a known key passes without being waited for, is hidden, and names its consumer", async (t) => {
  const kit = await kitOf(t, { use: "api-key" });
  const answer = await kit.request({ headers: { "x-api-key": "key-2", "x-other": "1" } });
  assert.equal(answer.status, 200);
  assert.equal(answer.wasSync, true);
  assert.equal(answer.seen?.headers["x-api-key"], undefined);
  assert.equal(answer.seen?.headers["x-weft-consumer"], "acme");
  assert.equal(answer.ctx.consumer?.plan, "gold");
});

test("no key and a wrong key are 401 with a challenge", async (t) => {
  const kit = await kitOf(t, { use: "api-key" });
  for (const headers of [
    {},
    { "x-api-key": "" },
    { "x-api-key": "wrong" },
    { "x-api-key": "k".repeat(5000) },
  ]) {
    const answer = await kit.request({ headers });
    assert.equal(answer.status, 401);
    assert.equal(answer.problem?.["code"], "unauthenticated");
    assert.match(answer.headers["www-authenticate"]!, /^ApiKey realm="weft"/);
  }
});

test("an optional key may be absent, never wrong", async (t) => {
  const kit = await kitOf(t, { use: "api-key", options: { optional: true } });
  assert.equal((await kit.request()).status, 200);
  assert.equal((await kit.request({ headers: { "x-api-key": "wrong" } })).status, 401);
});

test("a key in the query is found and hidden, the rest of the target stays as it was", async (t) => {
  const kit = await kitOf(t, { use: "api-key", options: { query: "api key" } });
  const answer = await kit.request({ path: "/a%20b?x=%2F&api%20key=key-1&y" });
  assert.equal(answer.status, 200);
  assert.equal(answer.seen?.target, "/a%20b?x=%2F&y");
  assert.equal((await kit.request({ path: "/?api+key=key-1" })).seen?.target, "/");
});

test("a key in a cookie is found and hidden, other cookies stay", async (t) => {
  const kit = await kitOf(t, { use: "api-key", options: { cookie: "key" } });
  const answer = await kit.request({ headers: { cookie: 'a=1; key="key-1"; b=2' } });
  assert.equal(answer.seen?.headers["cookie"], "a=1; b=2");
  const alone = await kit.request({ headers: { cookie: "key=key-1" } });
  assert.equal(alone.seen?.headers["cookie"], undefined);
});

test("hide: false leaves the key in place; a scheme before it in Authorization is dropped", async (t) => {
  const kit = await kitOf(t, { use: "api-key", options: { header: "authorization", hide: false } });
  const answer = await kit.request({ headers: { authorization: "Bearer key-1" } });
  assert.equal(answer.seen?.headers["authorization"], "Bearer key-1");
});

test("acl lets in by group and keeps out by group", async (t) => {
  const kit = await kitOf(
    t,
    { use: "api-key", options: { optional: true } },
    { use: "acl", options: { allow: ["partners", "banned"], deny: ["banned"] } },
  );
  assert.equal((await kit.request({ headers: { "x-api-key": "key-1" } })).status, 200);
  for (const headers of [{}, { "x-api-key": "key-3" }]) {
    const answer = await kit.request({ headers });
    assert.equal(answer.status, 403);
    assert.equal(answer.problem?.["code"], "forbidden");
  }
});

test("acl without groups is refused when the configuration loads", async () => {
  await assert.rejects(createKit([{ use: "acl" }]), { part: "options" });
});
