import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { expandEnv } from "../../control/load/env.ts";
import { configOf, linesOf, problemOf, problemsOf } from "./loading.ts";

const env = { HOST: "db", EMPTY: "", PORT: "80", DOLLAR: "${HOST}" };

function expand(text: string): string {
  const result = expandEnv(text, env);
  return result.ok ? result.text : `! ${result.message}`;
}

describe("${VAR} in a text", () => {
  it("is the value of the variable, as often as it stands there", () => {
    assert.equal(expand("${HOST}:${PORT}/${HOST}"), "db:80/db");
  });

  it("may be set and empty", () => {
    assert.equal(expand("a${EMPTY}b"), "ab");
  });

  it("takes the default when it is unset or empty", () => {
    assert.equal(expand("${NOPE:-x}${EMPTY:-y}${HOST:-z}"), "xydb");
    assert.equal(expand("${NOPE:-}"), "");
    assert.equal(expand("${NOPE:-a:-b}"), "a:-b");
  });

  it("may stand in a default", () => {
    assert.equal(expand("${NOPE:-${ALSO_NOT:-${HOST}}}"), "db");
  });

  it("is literal after a second dollar", () => {
    assert.equal(expand("$${HOST}"), "${HOST}");
    assert.equal(expand("$$${HOST}"), "$${HOST}");
    assert.equal(expand("^/a$"), "^/a$");
    assert.equal(expand("$HOST"), "$HOST");
  });

  it("is not expanded again when a value looks like one", () => {
    assert.equal(expand("${DOLLAR}"), "${HOST}");
  });

  it("is refused when it is unset, unclosed or something else", () => {
    assert.equal(expand("${NOPE}"), "! environment variable NOPE is not set");
    assert.match(expand("${HOST"), /no closing brace/);
    assert.match(expand("${}"), /not a variable reference/);
    assert.match(expand("${1A}"), /not a variable reference/);
    assert.match(expand("${HOST:?x}"), /not a variable reference/);
    assert.match(expand("${__proto__}"), /__proto__ is not set/);
    assert.match(expand("${constructor}"), /constructor is not set/);
    assert.match(expand("${A:-".repeat(20) + "}".repeat(20)), /too deeply/);
  });

  it("never throws", () => {
    const piece = fc.constantFrom("${", "}", ":-", "HOST", "NOPE", "$", "$$", "x");
    fc.assert(
      fc.property(fc.array(piece), (pieces) => typeof expand(pieces.join("")) === "string"),
    );
  });
});

describe("${VAR} in a file", () => {
  it("stands for a number or a truth value where the schema wants one", async () => {
    const config = await configOf(
      'gateway: { listeners: [{ port: "${PORT}", proxyProtocol: "${PROXY}" }] }',
      { env: { PORT: "8081", PROXY: "true" } },
    );
    assert.equal(config.gateway?.listeners[0]?.port, 8081);
    assert.equal(config.gateway?.listeners[0]?.proxyProtocol, true);
  });

  it("stays a text where a text is wanted, whatever it looks like", async () => {
    const config = await configOf("admin:\n  address: 127.0.0.1:0\n  token: ${TOKEN}", {
      env: { TOKEN: "12345" },
    });
    assert.equal(config.admin.token, "12345");
  });

  it("names the place when it is not set, and says nothing else about that value", async () => {
    assert.deepEqual(await linesOf("drainTimeout: ${NOPE}\nadmin:\n  address: ${ALSO_NOT}"), [
      "1:15 environment variable NOPE is not set",
      "3:12 environment variable ALSO_NOT is not set",
    ]);
  });

  it("says to quote it where YAML would read braces", async () => {
    const text = "admin: { token: ${TOKEN}, x: 1 }\nb: [c, d]\ne: { f: g }";
    const [problem, ...others] = await problemsOf(text, { env: { TOKEN: "x" } });
    assert.equal(problem!.line, 1);
    assert.match(problem!.message, /without quotes/);
    assert.match(problem!.suggestion ?? "", /quotes around/);
    assert.deepEqual(others, []);
  });

  it("works in plugin options and in JSON", async () => {
    const text = JSON.stringify({ plugins: [{ "request-id": { header: "${H}" } }] });
    const config = await configOf(text, { format: "json", env: { H: "x-id" } });
    assert.deepEqual(config.plugins[0]?.options, { header: "x-id" });
  });

  it("stands for a number in the options of a plugin", async () => {
    const config = await configOf('plugins: [{ rate-limit: { limit: 5/s, cost: "${COST}" } }]', {
      env: { COST: "2" },
    });
    assert.deepEqual(config.plugins[0]?.options, { limit: "5/s", cost: 2 });
  });

  it("is expanded once, also where aliases and merges repeat it", async () => {
    const text =
      "policies:\n  a: &a { timeout: '${T}' }\n  b: { <<: [*a], idleTimeout: '${T}' }\n  c: *a\n";
    const config = await configOf(text, { env: { T: "1s" } });
    const { a, b, c } = config.policies;
    assert.deepEqual(
      [a, b, c],
      [{ timeoutMs: 1000 }, { timeoutMs: 1000, idleTimeoutMs: 1000 }, { timeoutMs: 1000 }],
    );
    const once = await configOf("admin: { address: '127.0.0.1:0', token: '${A}' }", {
      env: { A: "${B}" },
    });
    assert.equal(once.admin.token, "${B}");
  });

  it("does not tell a secret when the text around it is wrong", async () => {
    const problem = await problemOf("consumers: [{ name: a, keys: [hunter2hunter2] }]");
    assert.doesNotMatch(problem.source + problem.message + (problem.expected ?? ""), /hunter2/);
  });
});
