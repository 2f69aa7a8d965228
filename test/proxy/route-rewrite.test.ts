import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { normalisePath } from "../../proxy/http/target.ts";
import { changeTarget, redirectLocation, type RedirectChange } from "../../proxy/route/rewrite.ts";

function rewrite(
  change: { prefix?: string; path?: string },
  path: string,
  matchedPrefix = "/",
  query = "",
): string | null {
  const whole = { prefix: change.prefix ?? null, path: change.path ?? null };
  return changeTarget(whole, { path, query, matchedPrefix });
}

describe("a rewritten prefix", () => {
  // the table of the Gateway API's HTTPPathModifier; the matched prefix never ends in a slash here
  const cases: readonly (readonly [string, string, string, string])[] = [
    ["/foo/bar", "/foo", "/xyz", "/xyz/bar"],
    ["/foo/bar", "/foo", "/xyz/", "/xyz/bar"],
    ["/foo", "/foo", "/xyz", "/xyz"],
    ["/foo/", "/foo", "/xyz", "/xyz/"],
    ["/foo/bar", "/foo", "", "/bar"],
    ["/foo/", "/foo", "", "/"],
    ["/foo", "/foo", "", "/"],
    ["/foo/", "/foo", "/", "/"],
    ["/foo", "/foo", "/", "/"],
    ["/foo/bar", "/", "/xyz", "/xyz/foo/bar"],
    ["/", "/", "/xyz", "/xyz/"],
    ["/v12/bar", "/v12/", "/api", "/api/bar"],
    ["/v12/bar", "/v12/", "/", "/bar"],
  ];
  for (const [path, matched, prefix, expected] of cases) {
    it(`makes ${expected} of ${path} with ${JSON.stringify(prefix)} for ${matched}`, () => {
      assert.equal(rewrite({ prefix }, path, matched), expected);
    });
  }

  it("keeps the query as it came", () => {
    assert.equal(rewrite({ prefix: "/x" }, "/a/b", "/a", "?q=%2F&r"), "/x/b?q=%2F&r");
  });

  it("is refused when what is left would climb out of it", () => {
    assert.equal(rewrite({ prefix: "/api" }, "/v1../admin", "/v1"), null);
    assert.equal(rewrite({ prefix: "/api" }, "/v1./x", "/v1"), null);
    assert.equal(rewrite({ prefix: "/api" }, "/v1..x/y", "/v1"), "/api/..x/y");
  });

  it("holds the result under it, whatever a request asks", () => {
    const text = fc.string({ unit: fc.constantFrom("/", ".", "a", "%2e", ";"), maxLength: 12 });
    fc.assert(
      fc.property(text, fc.nat(12), (raw, length) => {
        const path = normalisePath(`/${raw}`);
        if (typeof path !== "string") return;
        const result = rewrite({ prefix: "/in/here" }, path, path.slice(0, length) || "/");
        if (result === null) return;
        assert.match(result, /^\/in\/here(\/|$)/);
        assert.equal(normalisePath(result), result);
      }),
    );
  });
});

describe("a rewritten path", () => {
  it("replaces the whole and keeps the query", () => {
    assert.equal(rewrite({ path: "/x" }, "/a/b", "/a", "?q=1"), "/x?q=1");
  });

  it("may bring parameters of its own", () => {
    assert.equal(rewrite({ path: "/x?y=1" }, "/a", "/", "?q=1"), "/x?y=1&q=1");
    assert.equal(rewrite({ path: "/x?y=1" }, "/a"), "/x?y=1");
  });
});

describe("a redirect", () => {
  const none: RedirectChange = { scheme: null, host: null, port: null, path: null, prefix: null };
  const to = (
    change: Partial<RedirectChange>,
    authority = "a.com",
    path = "/old/x?q=1",
  ): unknown => {
    const [plain = "", query] = path.split("?");
    return redirectLocation(
      { ...none, ...change },
      {
        path: plain,
        query: query === undefined ? "" : `?${query}`,
        matchedPrefix: "/old",
        scheme: "http",
        authority,
        host: authority.replace(/:\d*$/, ""),
      },
    );
  };

  it("is a path alone when only the path changes", () => {
    assert.equal(to({ path: "/new" }), "/new?q=1");
    assert.equal(to({ prefix: "/new" }), "/new/x?q=1");
    assert.equal(to({ prefix: "/" }), "/x?q=1");
  });

  it("keeps host, port and path when only the scheme changes, and takes its usual port", () => {
    assert.equal(to({ scheme: "https" }), "https://a.com/old/x?q=1");
    assert.equal(to({ scheme: "https" }, "a.com:8080"), "https://a.com/old/x?q=1");
    assert.equal(to({ scheme: "https", port: 8443 }, "a.com:8080"), "https://a.com:8443/old/x?q=1");
  });

  it("keeps the port that was asked when only the host changes", () => {
    assert.equal(to({ host: "b.com" }, "a.com:8080"), "http://b.com:8080/old/x?q=1");
    assert.equal(to({ host: "b.com" }), "http://b.com/old/x?q=1");
  });

  it("does not write the usual ports out", () => {
    assert.equal(to({ scheme: "https", port: 443 }), "https://a.com/old/x?q=1");
    assert.equal(to({ port: 80 }), "http://a.com/old/x?q=1");
    assert.equal(to({ port: 81 }), "http://a.com:81/old/x?q=1");
  });

  it("keeps the brackets of an address", () => {
    assert.equal(to({ scheme: "https" }, "[::1]:80"), "https://[::1]/old/x?q=1");
    assert.equal(to({ port: 81 }, "[::1]"), "http://[::1]:81/old/x?q=1");
  });

  it("stays a path when the request names no host", () => {
    assert.equal(to({ scheme: "https" }, ""), "/old/x?q=1");
  });

  it("never leads to another host by its path", () => {
    const path = normalisePath("//evil.com/x");
    assert.equal(path, "/evil.com/x");
    assert.equal(rewrite({ prefix: "/" }, "/old/evil.com", "/old"), "/evil.com");
  });
});
