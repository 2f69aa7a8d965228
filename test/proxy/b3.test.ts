/** B3 as W3C Trace Context. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { fieldsFrom } from "../../proxy/http/fields.ts";
import { traceparentFromB3 } from "../../proxy/http/b3.ts";

const trace = "80f198ee56343ba864fe8b2a57d3eff7";
const span = "e457b5a2e4d86bd1";
const of = (...pairs: [string, string][]) => traceparentFromB3(fieldsFrom(pairs));

test("one b3 field, with every form of its decision", () => {
  assert.equal(of(["b3", `${trace}-${span}-1-05e3ac9a4f6e3b90`]), `00-${trace}-${span}-01`);
  assert.equal(of(["b3", `${trace}-${span}-d`]), `00-${trace}-${span}-01`);
  assert.equal(of(["b3", `${trace}-${span}-0`]), `00-${trace}-${span}-00`);
  assert.equal(of(["B3", `${trace.toUpperCase()}-${span}`]), `00-${trace}-${span}-00`);
});

test("several x-b3 fields, an id of 64 bits padded", () => {
  assert.equal(
    of(["X-B3-TraceId", "64fe8b2a57d3eff7"], ["X-B3-SpanId", span], ["X-B3-Sampled", "1"]),
    `00-000000000000000064fe8b2a57d3eff7-${span}-01`,
  );
  assert.equal(
    of(["x-b3-traceid", trace], ["x-b3-spanid", span], ["x-b3-flags", "1"]),
    `00-${trace}-${span}-01`,
  );
});

test("what is no context gives none", () => {
  for (const text of [
    "0",
    "1",
    "",
    "x-y-1",
    `${trace}-short-1`,
    `${"0".repeat(32)}-${span}-1`,
    `${trace}-${"0".repeat(16)}-1`,
  ]) {
    assert.equal(of(["b3", text]), null, text);
  }
  assert.equal(of(["x-b3-sampled", "1"]), null);
});
