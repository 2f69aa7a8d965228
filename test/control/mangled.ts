/** A configuration with pieces cut out, doubled and replaced: what its reader must survive. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { formatProblems, parseConfigText } from "../../control/load.ts";

/** A configuration with a bit of everything. */
export const sample = `gateway:
  listeners:
    - { name: web, port: 8080 }
  limits: { headerBytes: 60KiB, headerTimeout: 10s }
services:
  orders: &o
    endpoints: [127.0.0.1:3001, { address: "127.0.0.1:3002", weight: 2 }]
    policy: patient
    health: { path: /healthz, interval: 5s }
  copy: { <<: *o, policy: { timeout: 1s } }
routes:
  - name: orders
    hosts: [api.example.com]
    match: { path: { regex: '^/v\\d+/' }, methods: [GET], headers: { x: { present: true } } }
    to: [{ service: orders, weight: 90 }]
    plugins: [request-id, { cors: { origins: ["*"] }, when: 'method != "GET"' }]
policies: { patient: { retry: { on: [502] } } }
consumers: [{ name: acme, groups: [a] }]
admin: { address: 127.0.0.1:9901, token: "\${T:-x}" }
`;

/** `ok`, or `problems` when each has a message and a place, in order. Fails on anything else. */
export async function outcome(text: string, format: "yaml" | "json"): Promise<string> {
  const result = await parseConfigText(text, {
    file: "weft.yaml",
    format,
    mode: "check",
    env: { T: "t" },
  });
  if (result.ok) return "ok";
  assert.ok(result.problems.length > 0);
  let before = 0;
  for (const problem of result.problems) {
    assert.ok(
      problem.message !== "" && problem.line >= 1 && problem.column >= 1,
      formatProblems(result.problems, { color: false }),
    );
    assert.ok(problem.line >= before);
    before = problem.line;
  }
  assert.equal(typeof formatProblems(result.problems, { color: true }), "string");
  return "problems";
}

const edit = fc.record({
  at: fc.nat(sample.length),
  length: fc.nat(12),
  insert: fc.oneof(
    fc.string({ maxLength: 6 }),
    fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ": ",
      "\n",
      "  ",
      "null",
      "-1",
      "1e999",
      ".inf",
      ".nan",
      "*o",
      "__proto__: 1\n",
      '"',
      "~",
      "true",
      "0x10",
    ),
  ),
});

/** Any damage to the sample ends in a configuration or in located problems. */
export const mangledIsAnswered = fc.asyncProperty(
  fc.array(edit, { minLength: 1, maxLength: 4 }),
  async (edits) => {
    let text = sample;
    for (const { at, length, insert } of edits)
      text = text.slice(0, at) + insert + text.slice(at + length);
    await outcome(text, "yaml");
  },
);
