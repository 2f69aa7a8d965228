import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { parse, stringify } from "yaml";
import { parseText } from "../../control/load/document.ts";

function read(text: string, format: "yaml" | "json" = "yaml"): unknown {
  const result = parseText(text, format);
  assert.ok(
    result.ok,
    result.ok ? "" : result.problems.map((problem) => problem.message).join("\n"),
  );
  return JSON.parse(JSON.stringify(result.data));
}

/** Any data without control characters, which a configuration may not hold raw. */
const data = fc
  .dictionary(
    fc.string({ unit: "grapheme" }),
    fc.jsonValue({ maxDepth: 4, stringUnit: "grapheme" }),
    { minKeys: 1 },
  )
  .filter((value) => !/(?![\t\n\r])\p{Cc}/u.test(JSON.stringify(value)));

describe("reading a text", () => {
  it("gives what JSON.parse gives, however it is indented", () => {
    fc.assert(
      fc.property(data, fc.constantFrom(undefined, 2, "\t"), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        assert.deepEqual(read(text, "json"), JSON.parse(text));
      }),
      { numRuns: 500 },
    );
  });

  it("gives what the YAML library gives for what it writes", () => {
    fc.assert(
      fc.property(data, (value) => {
        const text = stringify(value);
        assert.deepEqual(read(text), JSON.parse(JSON.stringify(parse(text))));
      }),
      { numRuns: 300 },
    );
  });

  it("gives what the YAML library gives for aliases and merges", () => {
    const texts = [
      "a: &a { x: 1, y: { z: [1] } }\nb: *a\nc: { <<: *a, y: 2 }\nd: { y: 3, <<: *a }\ne: { <<: [{ x: 5 }, *a] }\n",
      "a: &x 1\nb: &x 2\nc: *x\n",
      'a: &a [1, &b 2]\nc: [*a, *b]\nd: { "<<": 1 }\n',
      "base: &base\n  k: v\nnext: &next\n  <<: *base\n  l: w\nlast:\n  <<: *next\n",
    ];
    for (const text of texts)
      assert.deepEqual(read(text), JSON.parse(JSON.stringify(parse(text, { merge: true }))), text);
  });

  it("takes keys that are numbers or truth values as they are written", () => {
    assert.deepEqual(read("5432: a\n0x10: b\ntrue: c\n1.0: d\n"), {
      5432: "a",
      "0x10": "b",
      true: "c",
      "1.0": "d",
    });
  });

  it("refuses a merge of something that is no mapping", () => {
    for (const text of ["a: { <<: 1 }", "a: { <<: [1] }", "a: { <<: ~ }"])
      assert.ok(!parseText(text, "yaml").ok, text);
  });
});
