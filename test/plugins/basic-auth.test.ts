import assert from "node:assert/strict";
import { argon2Sync, hash, randomBytes, scryptSync } from "node:crypto";
import { test } from "node:test";
import { createKit } from "../support/plugin-kit.ts";
import type { ConsumerEntry } from "../../proxy/pipeline/consumers.ts";

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes).toString("base64").replaceAll("=", "");
const salt = randomBytes(16);
const scrypted = (password: string): string =>
  `$scrypt$ln=10,r=8,p=1$${base64(salt)}$${base64(scryptSync(password, salt, 32, { N: 1024, r: 8, p: 1 }))}`;
const argoned = (password: string): string => {
  const options = { message: password, nonce: salt, parallelism: 1, tagLength: 32 };
  const digest = argon2Sync("argon2id", { ...options, memory: 64, passes: 2 });
  return `$argon2id$v=19$m=64,t=2,p=1$${base64(salt)}$${base64(digest)}`;
};
const entry = (name: string, ...keys: string[]): ConsumerEntry => ({
  name,
  keys,
  plan: null,
  groups: [],
});
const sha = (text: string): string => `sha256:${hash("sha256", text, "hex")}`;
const basic = (text: string): { authorization: string } => ({
  authorization: `Basic ${Buffer.from(text).toString("base64")}`,
});

async function kitOf(
  t: { after(run: () => Promise<void>): void },
  consumers: readonly ConsumerEntry[],
  options: unknown = {},
) {
  const kit = await createKit([{ use: "basic-auth", options }], { consumers });
  t.after(() => kit.close());
  return kit;
}

test("a consumer's name and one of its passwords pass at once; the service sees the name alone", async (t) => {
  const kit = await kitOf(t, [entry("alice", sha("old:pass"), sha("nüu"))]);
  for (const password of ["old:pass", "nüu"]) {
    const answer = await kit.request({ headers: basic(`alice:${password}`) });
    assert.equal(answer.status, 200);
    assert.equal(answer.wasSync, true);
    assert.equal(answer.seen?.headers["x-weft-consumer"], "alice");
    assert.equal(answer.seen?.headers["authorization"], undefined);
  }
});

test("another consumer's password, a wrong one and garbage are 401 with a challenge", async (t) => {
  const kit = await kitOf(t, [entry("alice", sha("one")), entry("bob", sha("two"))]);
  for (const headers of [
    {},
    basic("alice:two"),
    basic("alice:"),
    basic("alice"),
    basic(":one"),
    basic("nobody:one"),
    basic("__proto__:one"),
    basic(`alice:one\u0000`),
    { authorization: "Basic" },
    { authorization: "Basic !!!" },
    { authorization: "Bearer abc" },
    { authorization: `Basic ${"A".repeat(70_000)}` },
  ] as Record<string, string>[]) {
    const answer = await kit.request({ headers });
    assert.equal(answer.status, 401, JSON.stringify(headers));
    assert.equal(answer.problem?.["code"], "unauthenticated");
    assert.equal(answer.headers["www-authenticate"], 'Basic realm="weft", charset="UTF-8"');
  }
});

for (const [name, hashed] of [
  ["scrypt", scrypted],
  ["argon2id", argoned],
] as const) {
  test(`an imported ${name} hash is checked once and remembered without the password`, async (t) => {
    const kit = await kitOf(t, [entry("alice", hashed("secret"))]);
    const first = await kit.request({ headers: basic("alice:secret") });
    assert.equal(first.status, 200);
    assert.equal(first.wasSync, false);
    const second = await kit.request({ headers: basic("alice:secret") });
    assert.equal(second.status, 200);
    assert.equal(second.wasSync, true);
    assert.equal((await kit.request({ headers: basic("alice:wrong") })).status, 401);
    const again = await kit.request({ headers: basic("alice:wrong") });
    assert.deepEqual([again.status, again.wasSync], [401, true]);
    kit.nowMs += 300_001;
    assert.equal((await kit.request({ headers: basic("alice:secret") })).wasSync, false);
  });
}

test("a stranger's name is checked like a consumer's: its time tells nothing", async (t) => {
  const kit = await kitOf(t, [entry("alice", scrypted("secret"))]);
  const answer = await kit.request({ headers: basic("nobody:secret") });
  assert.deepEqual([answer.status, answer.wasSync], [401, false]);
});

test("a flood of guesses waits in turn, and what is over the queue is told to come again", async (t) => {
  const kit = await kitOf(t, [entry("alice", scrypted("secret"))]);
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, i) => kit.request({ headers: basic(`alice:guess-${i}`) })),
  );
  const count = (status: number): number => answers.filter((one) => one.status === status).length;
  // two run, 64 wait; on a machine that stalls some of those wait too long
  assert(count(503) >= 34);
  assert.equal(count(401) + count(503), 100);
  assert(count(401) >= 2);
  assert.equal((await kit.request({ headers: basic("alice:secret") })).status, 200);
});

test("hide: false leaves the field to the service; optional lets requests without it through", async (t) => {
  const kit = await kitOf(t, [entry("alice", sha("one"))], { hide: false, optional: true });
  const answer = await kit.request({ headers: basic("alice:one") });
  assert.equal(answer.seen?.headers["authorization"], basic("alice:one").authorization);
  assert.equal((await kit.request()).status, 200);
  assert.equal((await kit.request({ headers: { authorization: "Bearer x" } })).status, 200);
  assert.equal((await kit.request({ headers: basic("alice:two") })).status, 401);
});
