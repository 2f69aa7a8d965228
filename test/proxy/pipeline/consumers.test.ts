/** Consumers found by what callers present. */

import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { ConsumerIndex } from "../../../proxy/pipeline/consumers.ts";

const stored = (key: string): string => `sha256:${hash("sha256", key, "hex")}`;
const entry = (name: string, ...keys: string[]) => ({ name, keys, plan: null, groups: [] });

test("a key is found as often as it is presented, each time it is another text in memory", () => {
  const index = new ConsumerIndex([entry("ada", stored("ada-key")), entry("bob", stored("bob"))]);
  for (let i = 0; i < 3; i++) {
    const head = `x-api-key: ada-key\r\nx-other: ${i}`;
    assert.equal(index.byKey(head.slice(11, 18))?.name, "ada");
    assert.equal(index.byKey("bob")?.name, "bob");
    assert.equal(index.byKey("ada-ke"), undefined);
    assert.equal(index.byKey("ada-key "), undefined);
  }
});

test("what is stored is not a key, before or after its key was presented", () => {
  const digest = stored("secret");
  const index = new ConsumerIndex([entry("ada", digest)]);
  for (let i = 0; i < 2; i++) {
    for (const text of [digest, digest.slice(7), "", "__proto__", "constructor"])
      assert.equal(index.byKey(text), undefined);
    assert.equal(index.byKey("secret")?.name, "ada");
  }
});

test("more keys than are remembered are all found, again and again", () => {
  const names = Array.from({ length: 5000 }, (_, i) => `caller-${i}`);
  const index = new ConsumerIndex(names.map((name) => entry(name, stored(`key of ${name}`))));
  for (let round = 0; round < 2; round++)
    for (const name of names) assert.equal(index.byKey(`key of ${name}`)?.name, name);
});

test("whoever asks in whatever order, the answer is that of the hash alone", () => {
  const texts = ["a", "b", "\ud800", "\ufffd", "ä", "a\0", "\0a", "key-".repeat(20)];
  const keyed = texts.filter((_, i) => i % 2 === 0);
  fc.assert(
    fc.property(fc.array(fc.nat(texts.length - 1)), (asked) => {
      const index = new ConsumerIndex(keyed.map((key) => entry(key, stored(key))));
      for (const at of asked) {
        const digest = stored(texts[at]!);
        const owner = keyed.findLast((key) => stored(key) === digest);
        assert.equal(index.byKey(texts[at]!)?.name, owner);
      }
    }),
  );
});
