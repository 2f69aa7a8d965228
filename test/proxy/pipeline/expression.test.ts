import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ExpressionError,
  compileEndWhen,
  compileExpression,
  compileWhen,
} from "../../../proxy/pipeline/expression.ts";
import { Claims } from "../../../proxy/pipeline/plugin.ts";
import { PluginKit } from "../../support/plugin-kit.ts";

const kit = new PluginKit({ route: "orders" });

function exchange() {
  const x = kit.exchange({
    path: "/orders/1?v=2",
    headers: { "x-canary": "1", authorization: "Bearer x" },
    client: "198.51.100.7",
    consumer: { name: "acme", plan: "gold", groups: ["partners"] },
  });
  x.set(Claims, { role: "admin", level: 3, groups: ["a", "b"] });
  return x;
}

for (const [source, expected] of [
  ['method != "OPTIONS"', true],
  ['path.startsWith("/orders/")', true],
  ['headers["x-canary"] == "1"', true],
  ['headers["X-Absent"] == "1"', false],
  ['headers["x-absent"] != "1"', true],
  ['"x-canary" in headers', true],
  ['"x-absent" in headers', false],
  ["has(headers.authorization)", true],
  ["has(headers.cookie)", false],
  ['request.headers["x-canary"] == "1" && request.method == "GET"', true],
  ["claims.role == 'admin' && request.method == 'GET'", true],
  ["claims.absent == 'x'", false],
  ["claims.absent != 'x'", true],
  ["has(claims.role) && !has(claims.absent)", true],
  ["claims.level >= 3", true],
  ['"a" in claims.groups', true],
  ['consumer.name == "acme" && "partners" in consumer.groups', true],
  ['client.address == "198.51.100.7"', true],
  ["peer.service == 'web'", false],
  ['route == "orders" && service == "service" && mode == "gateway"', true],
  ['query == "?v=2"', true],
  ['path == "x in headers"', false],
  ["true", true],
] as const) {
  test(`${source} is ${expected}`, () => {
    const x = exchange();
    assert.equal(compileWhen(source)(x.req, x), expected);
  });
}

test("a condition whose evaluation fails holds, so that it never takes a guard away", () => {
  const x = exchange();
  assert.equal(compileWhen("claims.role > 3")(x.req, x), true);
});

test("an expression gives values of other types, and throws for what it cannot know", () => {
  const x = exchange();
  assert.equal(compileExpression('claims.role + "/" + method').evaluate(x.req, x), "admin/GET");
  assert.throws(() => compileExpression("claims.absent.x").evaluate(x.req, x));
});

test("conditions of the access log see how the exchange ended", () => {
  const x = exchange();
  const when = compileEndWhen("status >= 500 || response.status == 404 || duration > 100.0");
  const ask = (status: number, durationMs: number) =>
    when(x.req, x, { status, code: "", durationMs });
  assert.equal(ask(200, 5), false);
  assert.equal(ask(503, 5), true);
  assert.equal(ask(404, 5), true);
  assert.equal(ask(200, 250), true);
});

test("what cannot be compiled is an ExpressionError on one line", () => {
  for (const source of ["", "method ==", "unknown == 1", "method == 1", "headers[1]"]) {
    assert.throws(
      () => compileWhen(source),
      (error) => error instanceof ExpressionError && !error.message.includes("\n"),
    );
  }
});
