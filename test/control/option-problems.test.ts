import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { explainOptions } from "../../control/load/option-problems.ts";
import { problemOf, problemsOf } from "./loading.ts";

describe("a mistake in the options of a built-in plugin", () => {
  it("has its place, what was expected and a likely intention", async () => {
    const problems = await problemsOf(
      'plugins:\n  - cors: { orgins: ["*"], credentials: maybe }\n  - compress: { encodings: [gzp] }\n  - jwt: { issuer: 5 }\n',
    );
    assert.deepEqual(
      problems.map(({ line, column, message, expected, suggestion }) => [
        `${line}:${column}`,
        message,
        expected,
        suggestion,
      ]),
      [
        [
          "2:13",
          'unknown key "orgins"',
          "one of origins, methods, headers, expose, credentials, maxAge",
          'did you mean "origins"?',
        ],
        ["2:41", '"maybe" cannot stand here', "true or false", undefined],
        ["3:29", '"gzp" cannot stand here', '"br", "zstd" or "gzip"', 'did you mean "gzip"?'],
        ["4:20", "5 cannot stand here", "a text, or a list", undefined],
      ],
    );
  });

  it("is found in options that are no mapping, and in a condition", async () => {
    assert.equal(
      (await problemOf("plugins: [{ cors: [] }]")).message,
      "an empty list cannot stand here",
    );
    const problem = await problemOf('plugins: [{ cors: {}, when: "method ==" }]');
    assert.equal(`${problem.line}:${problem.column}`, "1:29");
  });

  it("is not looked for in a plugin that is off", async () => {
    await assert.rejects(
      problemOf("plugins: [{ cors: { orgins: [] }, enabled: false }]"),
      /was accepted/,
    );
  });
});

it("options of a schema of another library are left to it", async () => {
  const other = { "~standard": { version: 1, vendor: "other", validate: () => ({ issues: [] }) } };
  assert.equal(await explainOptions(other, {}, []), null);
  assert.equal(await explainOptions(undefined, {}, []), null);
});
