import assert from "node:assert/strict";
import { hash, scryptSync } from "node:crypto";
import { test } from "node:test";
import { createKey } from "../../cmd/key.ts";
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

test("with a prefix, a mistyped key is refused before anything is looked up", async (t) => {
  const good = createKey("acme");
  const stored = `sha256:${hash("sha256", good, "hex")}`;
  const kit = await createKit([{ use: "api-key", options: { prefix: ["acme", "old"] } }], {
    consumers: [...consumers, { name: "fresh", keys: [stored], plan: null, groups: [] }],
  });
  t.after(() => kit.close());
  assert.equal((await kit.request({ headers: { "x-api-key": good } })).status, 200);
  const last = good.at(-1) === "x" ? "y" : "x";
  for (const [key, detail] of [
    [good.slice(0, -1) + last, /mistyped/],
    [good.replace("acme", "evil"), /mistyped/],
    ["key-1", /mistyped/],
    [createKey("old"), /not known/],
  ] as const) {
    const answer = await kit.request({ headers: { "x-api-key": key } });
    assert.equal(answer.status, 401);
    assert.match(String(answer.problem?.["detail"]), detail);
  }
});

test("a key imported with a slow hash is searched once; the next time it passes at once", async (t) => {
  const salt = Buffer.from("a salt of 16 byt");
  const digest = scryptSync("imported", salt, 32, { N: 1024, r: 8, p: 1 });
  const stored = `scrypt$1024$8$1$${salt.toString("base64")}$${digest.toString("base64")}`;
  const kit = await createKit([{ use: "api-key" }], {
    consumers: [...consumers, { name: "moved", keys: [stored], plan: null, groups: [] }],
  });
  t.after(() => kit.close());
  const ask = async (key: string): Promise<[number, boolean, string | undefined]> => {
    const answer = await kit.request({ headers: { "x-api-key": key } });
    return [answer.status, answer.wasSync, answer.seen?.headers["x-weft-consumer"]];
  };
  assert.deepEqual(await ask("imported"), [200, false, "moved"]);
  assert.deepEqual(await ask("imported"), [200, true, "moved"]);
  assert.deepEqual(await ask("key-1"), [200, true, "acme"]);
  assert.deepEqual(await ask("wrong"), [401, false, undefined]);
  assert.deepEqual(await ask("wrong"), [401, true, undefined]);
});
