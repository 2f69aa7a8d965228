import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { linesOf, problemOf } from "./loading.ts";
import { mangledIsAnswered, outcome, sample } from "./mangled.ts";

describe("whatever is in the file, the answer is a configuration or located problems", () => {
  it("for the sample itself", async () => {
    assert.equal(await outcome(sample, "yaml"), "ok");
  });

  it("for any text", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: "binary", maxLength: 200 }),
        fc.constantFrom("yaml" as const, "json" as const),
        async (text, format) => {
          await outcome(text, format);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("for any text of YAML signs", async () => {
    const sign = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ":",
      " ",
      "\n",
      "- ",
      "&a ",
      "*a",
      "? ",
      "!!",
      "|",
      ">",
      "'",
      '"',
      "#",
      ",",
      "<<",
      "---\n",
      "%",
      "\t",
      "x",
      "${",
      "1",
      "routes",
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(sign, { maxLength: 60 }),
        async (signs) => void (await outcome(signs.join(""), "yaml")),
      ),
      { numRuns: 500 },
    );
  });

  it("for the sample with pieces cut out, doubled and replaced", () =>
    fc.assert(mangledIsAnswered, { numRuns: 600 }));

  it("for every key of the sample with every kind of value", async () => {
    for (const key of [
      "gateway",
      "mesh",
      "services",
      "routes",
      "plugins",
      "policies",
      "consumers",
      "plans",
      "stores",
      "access",
      "admin",
      "observe",
      "drainTimeout",
      "workers",
      "control",
      "$schema",
    ]) {
      for (const value of [
        "~",
        "1",
        "-1",
        ".nan",
        ".inf",
        "true",
        "x",
        '""',
        "[]",
        "[~]",
        "[1]",
        "[[]]",
        "[{}]",
        "{}",
        "{ a: ~ }",
        "{ a: 1 }",
        "{ a: [] }",
        "{ a: {} }",
        "{ __proto__: {} }",
        "{ constructor: 1 }",
        "2001-01-01",
      ]) {
        await outcome(`${key}: ${value}`, "yaml");
      }
    }
  });
});

describe("a file made to hang or exhaust its reader", () => {
  it("with aliases that multiply is refused", async () => {
    const levels = Array.from(
      { length: 12 },
      (_, level) =>
        `l${level}: &l${level} [${
          level === 0
            ? "x"
            : Array(10)
                .fill(`*l${level - 1}`)
                .join(", ")
        }]`,
    );
    assert.match((await problemOf(levels.join("\n"))).message, /aliases of this file multiply/);
  });

  it("with aliases that multiply in mappings and merges is refused", async () => {
    const levels = Array.from(
      { length: 30 },
      (_, level) =>
        `l${level}: &l${level} { ${level === 0 ? "x: 1" : `a: *l${level - 1}, b: *l${level - 1}, <<: *l${level - 1}`} }`,
    );
    assert.match((await problemOf(levels.join("\n"))).message, /multiply/);
  });

  it("with an alias to itself is refused", async () => {
    assert.match((await problemOf("a: &a [*a]")).message, /holds itself|anchor/);
    assert.match((await problemOf("a: &a { b: *a }")).message, /holds itself|anchor/);
    assert.match((await problemOf("a: &a { <<: *a }")).message, /holds itself|anchor/);
  });

  it("nested without end is refused", async () => {
    for (const text of [
      "[".repeat(100_000),
      "{a: ".repeat(20_000),
      "- ".repeat(50_000),
      "a:\n".concat(...Array.from({ length: 500 }, (_, depth) => `${" ".repeat(depth + 1)}a:\n`)),
      `${"[".repeat(200)}${"]".repeat(200)}`,
    ]) {
      await problemOf(text);
    }
    await problemOf(`${"[".repeat(50_000)}${"]".repeat(50_000)}`, { format: "json" });
  });

  it("with very many keys, problems or plugins is answered", async () => {
    assert.equal(
      (await linesOf(Array.from({ length: 20_000 }, (_, index) => `k${index}: 1`).join("\n")))[0],
      '1:1 unknown key "k0"',
    );
    const routes = Array.from(
      { length: 2000 },
      (_, index) => `  - { name: r${index}, to: x${index} }`,
    ).join("\n");
    assert.equal((await linesOf(`routes:\n${routes}`)).length, 2000);
  });

  it("with a regular expression that is too long or too big is refused", async () => {
    assert.match(
      (
        await problemOf(
          `routes: [{ match: { path: { regex: "${"a".repeat(3000)}" } }, respond: {} }]`,
        )
      ).message,
      /longer than/,
    );
    assert.match(
      (
        await problemOf(
          `routes: [{ match: { path: { regex: "((a{1000}){1000}){1000}" } }, respond: {} }]`,
        )
      ).message,
      /cannot be read/,
    );
  });
});

describe("names of the language itself", () => {
  it("are unknown keys or plain names, never a way in", async () => {
    assert.deepEqual(await linesOf("__proto__: { gateway: 1 }"), ['1:1 unknown key "__proto__"']);
    assert.deepEqual(await linesOf("constructor: 1"), ['1:1 unknown key "constructor"']);
    assert.deepEqual(await linesOf("routes: [{ to: __proto__ }]"), [
      '1:16 no service is named "__proto__"',
    ]);
    assert.deepEqual(await linesOf("routes: [{ to: toString }]"), [
      '1:16 no service is named "toString"',
    ]);
    assert.equal(({} as Record<string, unknown>)["gateway"], undefined);
  });
});
