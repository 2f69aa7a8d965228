import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasDoubleName } from "../../plugins/json-names.ts";

for (const [json, isDouble] of [
  ["{}", false],
  ["[]", false],
  ['"a"', false],
  ['{"a":1,"b":2}', false],
  ['{"a":1,"a":1}', true],
  ['{"a":1,"\\u0061":2}', true],
  ['{"a":{"a":{"a":1}}}', false],
  ['{"a":["a","a"],"b":"a"}', false],
  ['[{"a":1},{"a":1}]', false],
  ['{"x":[{"y":{"a":1,"b":[],"a":2}}]}', true],
  ['{"a":"\\",\\"a\\":1","b":"{\\"b\\""}', false],
  ['{"__proto__":1,"__proto__":2}', true],
  ['{"":1,"":2}', true],
  ['{ "a" : 1 ,\n "a" : 2 }', true],
] as const) {
  test(`${json} ${isDouble ? "has" : "has not"} a name twice`, () => {
    assert.equal(hasDoubleName(json), isDouble);
  });
}

test("whatever an object holds, it has no name twice until one is added", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 }), (value) => {
      const json = JSON.stringify(value);
      assert.equal(hasDoubleName(json), false, json);
      const [name] = Object.keys(value);
      assert.equal(hasDoubleName(`${json.slice(0, -1)},${JSON.stringify(name)}:0}`), true);
    }),
  );
});

test("any text is looked through without an error", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      // a name that is no JSON text cannot come after JSON.parse; elsewhere it must do no harm either
      try {
        hasDoubleName(text);
      } catch (error) {
        assert.ok(error instanceof SyntaxError);
      }
    }),
  );
});
