/** Who may call whom. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { compileAccess, pathPatternProblem, type AccessRule } from "../../policies/access.ts";

const rule = (over: Partial<AccessRule>): AccessRule => ({
  to: "orders",
  from: ["web"],
  methods: null,
  paths: null,
  action: "allow",
  ...over,
});
const web = "spiffe://weft.local/service/web";

function ask(
  rules: readonly AccessRule[],
  call: Partial<{ peerId: string | null; to: string; method: string; path: string }> = {},
  otherwise: "deny" | "allow" = "deny",
): { allowed: boolean; rule: string; shadow: readonly string[] } {
  const compiled = compileAccess({ rules, default: otherwise, trustDomain: "weft.local" });
  return compiled.decide({ peerId: web, to: "orders", method: "GET", path: "/orders/1", ...call });
}

test("without a rule the default decides and is named", () => {
  assert.deepEqual(ask([]), { allowed: false, rule: "access.default", shadow: [] });
  assert.deepEqual(ask([], {}, "allow"), { allowed: true, rule: "access.default", shadow: [] });
});

test("a service name is a SPIFFE name of the trust domain", () => {
  assert.deepEqual(ask([rule({})]), { allowed: true, rule: "access.rules[0]", shadow: [] });
  for (const peerId of [
    "spiffe://other.domain/service/web",
    "spiffe://weft.local/service/web2",
    "spiffe://weft.local/service/we",
    "spiffe://weft.local/ns/x/service/web",
    "spiffe://weft.local/service/WEB",
    "web",
    "",
  ]) {
    assert.equal(ask([rule({})], { peerId }).allowed, false, peerId);
  }
});

test("a whole SPIFFE URI is taken as it is", () => {
  const rules = [rule({ from: ["spiffe://other.domain/service/x"] })];
  assert.equal(ask(rules, { peerId: "spiffe://other.domain/service/x" }).allowed, true);
  assert.equal(ask(rules, { peerId: "spiffe://weft.local/service/x" }).allowed, false);
});

test("a URI that ends in /* takes what is below it, never a longer name", () => {
  const rules = [rule({ from: ["spiffe://weft.local/service/*"] })];
  assert.equal(ask(rules).allowed, true);
  assert.equal(ask(rules, { peerId: "spiffe://weft.local/service2/web" }).allowed, false);
  assert.equal(ask(rules, { peerId: "spiffe://weft.local.evil/service/web" }).allowed, false);
});

test("* is any verified caller, and nobody is not one", () => {
  assert.equal(ask([rule({ from: ["*"] })]).allowed, true);
  assert.equal(ask([rule({ from: ["*"] })], { peerId: null }).allowed, false);
});

test("deny wins over allow, wherever it stands", () => {
  const allow = rule({});
  const deny = rule({ action: "deny" });
  assert.deepEqual(ask([allow, deny]), { allowed: false, rule: "access.rules[1]", shadow: [] });
  assert.deepEqual(ask([deny, allow]), { allowed: false, rule: "access.rules[0]", shadow: [] });
});

test("deny wins over a default of allow", () => {
  assert.equal(ask([rule({ action: "deny" })], {}, "allow").allowed, false);
});

test("the first allow that matches is named", () => {
  const rules = [rule({ from: ["batch"] }), rule({}), rule({ from: ["*"] })];
  assert.equal(ask(rules).rule, "access.rules[1]");
});

test("a shadow rule is reported and decides nothing", () => {
  const shadow = rule({ action: "shadow" });
  assert.deepEqual(ask([shadow]), {
    allowed: false,
    rule: "access.default",
    shadow: ["access.rules[0]"],
  });
  assert.deepEqual(ask([rule({}), shadow]), {
    allowed: true,
    rule: "access.rules[0]",
    shadow: ["access.rules[1]"],
  });
  assert.deepEqual(ask([rule({ action: "deny" }), shadow, shadow]).shadow, [
    "access.rules[1]",
    "access.rules[2]",
  ]);
});

test("a rule is for its service only, and * for all", () => {
  assert.equal(ask([rule({ to: "payments" })]).allowed, false);
  assert.equal(ask([rule({ to: "*" })]).allowed, true);
  assert.equal(
    ask([rule({ to: "payments" }), rule({ to: "*", action: "deny" })], { to: "payments" }).allowed,
    false,
  );
});

test("/orders/* matches below /orders/ and not /orders itself", () => {
  const rules = [rule({ paths: ["/orders/*"] })];
  const allowed = (path: string): boolean => ask(rules, { path }).allowed;
  assert.equal(allowed("/orders/1"), true);
  assert.equal(allowed("/orders/1/items"), true);
  assert.equal(allowed("/orders"), false);
  assert.equal(allowed("/ordersX"), false);
  assert.equal(allowed("/Orders/1"), false);
  assert.equal(allowed("/x/orders/1"), false);
});

test("a path without a star is exact", () => {
  const rules = [rule({ paths: ["/orders", "/health"] })];
  assert.equal(ask(rules, { path: "/orders" }).allowed, true);
  assert.equal(ask(rules, { path: "/health" }).allowed, true);
  assert.equal(ask(rules, { path: "/orders/1" }).allowed, false);
});

test("/* and * match every path", () => {
  for (const star of ["/*", "*"]) assert.equal(ask([rule({ paths: [star] })]).allowed, true);
});

test("methods are compared in upper case, as they are on the wire", () => {
  const rules = [rule({ methods: ["get", "POST"] })];
  assert.equal(ask(rules, { method: "GET" }).allowed, true);
  assert.equal(ask(rules, { method: "POST" }).allowed, true);
  assert.equal(ask(rules, { method: "DELETE" }).allowed, false);
  assert.equal(ask(rules, { method: "get" }).allowed, false);
});

test("an empty list of callers, methods or paths matches nothing", () => {
  for (const nothing of [{ from: [] }, { methods: [] }, { paths: [] }]) {
    assert.equal(ask([rule(nothing)]).allowed, false);
  }
});

test("a star in the middle of a path is named as a mistake", () => {
  assert.equal(pathPatternProblem("/orders/*"), null);
  assert.equal(pathPatternProblem("/orders"), null);
  assert.equal(pathPatternProblem("*"), null);
  assert.match(pathPatternProblem("/orders/*/items")!, /at the end/);
  assert.match(pathPatternProblem("orders")!, /begins with/);
});

test("CONNECT is allowed by a rule that lists it, and by nothing else", () => {
  const tunnel = { method: "CONNECT", path: "" };
  assert.equal(ask([], tunnel, "allow").allowed, false);
  assert.equal(ask([rule({})], tunnel).allowed, false);
  assert.equal(ask([rule({ paths: ["*"] })], tunnel, "allow").allowed, false);
  const listed = rule({ methods: ["CONNECT"] });
  assert.deepEqual(ask([rule({}), listed], tunnel), {
    allowed: true,
    rule: "access.rules[1]",
    shadow: [],
  });
  // to deny it, nobody has to name it
  assert.equal(ask([listed, rule({ action: "deny" })], tunnel).rule, "access.rules[1]");
  assert.equal(ask([listed, rule({ action: "deny" })], tunnel).allowed, false);
});
