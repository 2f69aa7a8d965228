import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { ConfigPath } from "../../control/config.ts";
import { loadConfig } from "../../control/load.ts";
import { moduleSpan } from "../../control/load/module-places.ts";
import { folder } from "./loading.ts";

/** The text that a path leads to. */
function found(text: string, path: ConfigPath, at: "key" | "value" = "value"): string {
  const { offset, length } = moduleSpan(text, path, at);
  return text.slice(offset, offset + length);
}

const text = `import { defineConfig } from 'weft/config'
// export default { a: 1 } is not it
const port = 8080
const shared = { timeout: '5s', nested: [1, 2] }

export default defineConfig({
  gateway: { listeners: [{ name: 'web', port }, { port: Number(process.env.PORT ?? 1), host: "a,b}" }] }, /* } */
  'quoted-key': \`a \${b} {\`,
  ...more,
  policies: { default: shared, other: { ...shared, timeout: '7s' } },
  routes: [
    { to: 'a', match: { path: '/x' }, plugins: ['cors', { 'request-id': { header: 'x' }, when: 'a ? b : c' }] },
    ...list.map((one) => ({ to: one })),
    { to: 'b' } satisfies Route,
  ],
  run() { return { workers: 5 } },
  workers: 3 as const,
})
`;

describe("the place of a value in a module", () => {
  it("is found through objects, lists, quoted keys and comments", () => {
    assert.equal(found(text, ["gateway", "listeners", 0, "name"]), "'web'");
    assert.equal(found(text, ["gateway", "listeners", 1, "host"]), '"a,b}"');
    assert.equal(found(text, ["quoted-key"]), "`a ${b} {`");
    assert.equal(found(text, ["routes", 0, "plugins", 1, "request-id", "header"]), "'x'");
    assert.equal(found(text, ["routes", 0, "plugins", 1, "when"]), "'a ? b : c'");
    assert.equal(found(text, ["routes", 2, "to"]), "'b'");
    assert.equal(found(text, ["workers"]), "3 as const");
  });

  it("is that of the key when the key is at fault", () => {
    assert.equal(found(text, ["quoted-key"], "key"), "'quoted-key'");
    assert.equal(found(text, ["routes", 0, "plugins", 1, "request-id"], "key"), "'request-id'");
  });

  it("is behind a name that the module declares", () => {
    assert.equal(found(text, ["gateway", "listeners", 0, "port"]), "8080");
    assert.equal(found(text, ["policies", "default", "timeout"]), "'5s'");
    assert.equal(found(text, ["policies", "default", "nested", 1]), "2");
    assert.equal(
      found("const config: ConfigInput = {\n  workers: 2,\n}\nexport default config\n", [
        "workers",
      ]),
      "2",
    );
  });

  it("is the expression when the program computes it", () => {
    assert.equal(found(text, ["gateway", "listeners", 1, "port"]), "Number(process.env.PORT ?? 1)");
  });

  it("is the nearest thing around it when it is not written out", () => {
    assert.equal(found(text, ["routes", 0, "policy", "timeout"]), found(text, ["routes", 0]));
    assert.equal(found(text, ["routes", 0, "match", 0, "path"]), "'/x'");
    assert.equal(found("export default await load()", ["a"]), "await load()".slice(6));
    assert.equal(found("module.exports = {}", ["a"]), "m");
  });

  it("is an answer for every text and path", () => {
    const sign = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      "(",
      ")",
      ":",
      ",",
      "'",
      '"',
      "`",
      "${",
      "//",
      "/*",
      "*/",
      "\n",
      "a",
      "a:",
      "...",
      "\\",
      "const a = ",
      "await ",
    );
    const path = fc.array(fc.oneof(fc.constant("a"), fc.nat(3)), { maxLength: 4 });
    fc.assert(
      fc.property(fc.array(sign, { maxLength: 40 }), path, (signs, way) => {
        const source = `const a = a\nexport default ${signs.join("")}`;
        const { offset, length } = moduleSpan(source, way, "value");
        assert.ok(offset >= 0 && offset <= source.length && length >= 1);
      }),
      { numRuns: 500 },
    );
  });
});

it("problems of a module have line and column", async (t) => {
  const path = await folder(t, {
    "weft.config.ts": "export default {\n  routes: [\n    { to: 'a',\n      polcy: 1 },\n  ],\n}\n",
    "broken.ts": "export default {\n  a: ],\n}\n",
    "thrower.ts": "const a: number = 1\n\n  throw new Error(`no ${a}`)\n",
  });
  const linesOf = async (name: string): Promise<string[]> => {
    const result = await loadConfig(join(path, name), { mode: "check", env: {} });
    assert.ok(!result.ok);
    return result.problems.map(({ line, column, message }) => `${line}:${column} ${message}`);
  };
  assert.deepEqual(await linesOf("weft.config.ts"), [
    '3:11 no service is named "a"',
    '4:7 unknown key "polcy"',
  ]);
  assert.match(
    (await linesOf("broken.ts"))[0] ?? "",
    /^2:3 the module cannot be loaded: SyntaxError/,
  );
  assert.match(
    (await linesOf("thrower.ts"))[0] ?? "",
    /^3:3 the module cannot be loaded: Error: no 1/,
  );
});
