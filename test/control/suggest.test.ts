import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { didYouMean, didYouMeanKey, nearest } from "../../control/suggest.ts";

const keys = [
  "gateway",
  "routes",
  "services",
  "plugins",
  "policies",
  "timeout",
  "totalTimeout",
  "port",
  "to",
];

it("finds a word with letters lost, added, changed or swapped", () => {
  assert.equal(nearest("rutes", keys), "routes");
  assert.equal(nearest("servcies", keys), "services");
  assert.equal(nearest("pluginss", keys), "plugins");
  assert.equal(nearest("gatway", keys), "gateway");
  assert.equal(nearest("prot", keys), "port");
});

it("finds a word in another case or with other separators", () => {
  assert.equal(nearest("total_timeout", keys), "totalTimeout");
  assert.equal(nearest("ROUTES", keys), "routes");
  assert.equal(nearest("total-timeout", keys), "totalTimeout");
});

it("prefers the nearer of two", () => {
  assert.equal(nearest("rout", ["root", "route"]), "route");
  assert.equal(nearest("timeouts", keys), "timeout");
});

it("is silent when nothing is near", () => {
  for (const word of ["", "x", "upstream", "zzzzzz", "日本語", "a".repeat(10_000)])
    assert.equal(nearest(word, keys), null, word.slice(0, 20));
});

it("asks a question", () => {
  assert.equal(didYouMean("rutes", keys), 'did you mean "routes"?');
  assert.equal(didYouMean("zzz", keys), null);
});

it("always answers with one of the known words", () => {
  fc.assert(
    fc.property(fc.string(), (word) => {
      const found = nearest(word, keys);
      assert.ok(found === null || keys.includes(found));
    }),
  );
});

it("knows what other proxies call a key, when it has that key here", () => {
  assert.equal(didYouMeanKey("backends", keys), 'did you mean "services"?');
  assert.equal(didYouMeanKey("backend_refs", ["to"]), 'did you mean "to"?');
  assert.equal(didYouMeanKey("backends", ["port"]), null);
  assert.equal(didYouMeanKey("rutes", keys), 'did you mean "routes"?');
  assert.equal(didYouMeanKey("constructor", keys), null);
});
