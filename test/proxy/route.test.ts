import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { RE2JS } from "re2js";
import { regexLiteral } from "../../proxy/route/literal.ts";
import { compileRouter } from "../../proxy/route/match.ts";
import type { PathRule, RouteRule, RuleMatch } from "../../proxy/route/table.ts";
import { exactly, queryOf, routersAgree } from "./route-tables.ts";
import type { Ask } from "./route-tables.ts";

interface Want {
  readonly hosts?: readonly string[];
  readonly path?: string | PathRule;
  readonly methods?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
}

function matchOf(want: Want): RuleMatch {
  const path = typeof want.path === "string" ? { kind: "prefix", value: want.path } : want.path;
  return {
    path: (path as PathRule | undefined) ?? null,
    methods: want.methods ?? null,
    headers: Object.entries(want.headers ?? {}).map(([name, value]) => exactly(name, value)),
    query: Object.entries(want.query ?? {}).map(([name, value]) => exactly(name, value)),
  };
}

/** Rules by name, in the order in which they stand. */
function rulesOf(wants: Readonly<Record<string, Want | readonly Want[]>>): RouteRule<string>[] {
  return Object.entries(wants).map(([value, want]) => {
    const all = Array.isArray(want) ? (want as readonly Want[]) : [want as Want];
    return { value, hosts: all[0]?.hosts ?? [], matches: all.map(matchOf) };
  });
}

/** The name of the route, `405 GET,HEAD`, or `none`. */
function take(wants: Readonly<Record<string, Want | readonly Want[]>>, ask: Ask): string {
  const result = compileRouter(rulesOf(wants)).match(queryOf(ask));
  switch (result.kind) {
    case "route":
      return result.value;
    case "method":
      return `405 ${result.allow.join(",")}`;
    case "none":
      return "none";
  }
}

const exact = (value: string): PathRule => ({ kind: "exact", value });
const regex = (value: string): PathRule => ({ kind: "regex", value });
const template = (value: string): PathRule => ({ kind: "template", value });

describe("a prefix", () => {
  const wants = { foo: { path: "/foo" } };
  for (const path of ["/foo", "/foo/", "/foo/bar", "/foo/bar/baz"]) {
    it(`takes ${path}`, () => assert.equal(take(wants, { path }), "foo"));
  }
  for (const path of ["/foobar", "/fo", "/", "/Foo", "/bar/foo"]) {
    it(`leaves ${path}`, () => assert.equal(take(wants, { path }), "none"));
  }
  it("is the same with a slash at its end", () => {
    for (const path of ["/foo", "/foo/", "/foo/bar"]) {
      assert.equal(take({ foo: { path: "/foo/" } }, { path }), "foo");
    }
    assert.equal(take({ foo: { path: "/foo/" } }, { path: "/foobar" }), "none");
  });
  it("of a slash takes everything, and so does no path", () => {
    for (const wants of [{ all: { path: "/" } }, { all: {} }]) {
      for (const path of ["/", "/a", "/a/b/"]) assert.equal(take(wants, { path }), "all");
      assert.equal(take(wants, { method: "OPTIONS", path: "*" }), "all");
    }
  });
  it("is normalised as requests are", () => {
    assert.equal(take({ a: { path: "/%61/./b" } }, { path: "/a/b/c" }), "a");
  });
});

describe("the order within a host", () => {
  it("is exact before prefix, however long, and wherever it stands", () => {
    const wants = { prefix: { path: "/a/b" }, exact: { path: exact("/a/b") } };
    assert.equal(take(wants, { path: "/a/b" }), "exact");
    assert.equal(take(wants, { path: "/a/b/" }), "prefix");
  });

  it("is the longest prefix first", () => {
    const wants = { all: {}, a: { path: "/a" }, ab: { path: "/a/b" } };
    assert.equal(take(wants, { path: "/a/b/c" }), "ab");
    assert.equal(take(wants, { path: "/a/c" }), "a");
    assert.equal(take(wants, { path: "/c" }), "all");
  });

  it("falls back to a shorter prefix when the longer one wants more", () => {
    const wants = { a: { path: "/a" }, ab: { path: "/a/b", headers: { x: "1" } } };
    assert.equal(take(wants, { path: "/a/b" }), "a");
    assert.equal(take(wants, { path: "/a/b", headers: { x: "1" } }), "ab");
  });

  it("is prefix before regex and template of the same specificity", () => {
    const wants = {
      regex: { path: regex("^/api(/.*)?$") },
      prefix: { path: "/api" },
    };
    assert.equal(take(wants, { path: "/api/x" }), "prefix");
  });

  it("ranks a template by what stands before its first parameter", () => {
    const wants = { prefix: { path: "/orders" }, item: { path: template("/orders/{id}") } };
    assert.equal(take(wants, { path: "/orders/1" }), "item");
    assert.equal(take(wants, { path: "/orders/1/lines" }), "prefix");
    assert.equal(take(wants, { path: "/orders/" }), "prefix");
    const longer = { ...wants, fixed: { path: "/orders/special" } };
    assert.equal(take(longer, { path: "/orders/special" }), "fixed");
  });

  it("ranks a regex by its literal start", () => {
    const wants = { all: {}, version: { path: regex("^/v\\d+/") }, one: { path: "/v1" } };
    assert.equal(take(wants, { path: "/v2/x" }), "version");
    assert.equal(take(wants, { path: "/v1/x" }), "one");
    assert.equal(take(wants, { path: "/vx/" }), "all");
  });

  it("puts the prefix of everything behind an unanchored regex", () => {
    const wants = { all: { path: "/" }, php: { path: regex("\\.php$") } };
    assert.equal(take(wants, { path: "/a/b.php" }), "php");
  });

  it("is a named method, then more headers, then more parameters, then the file", () => {
    const wants = {
      plain: {},
      query: { query: { v: "1" } },
      two: { query: { v: "1", w: "1" } },
      header: { headers: { x: "1" } },
      headers: { headers: { x: "1", y: "1" } },
      method: { methods: ["GET"] },
      later: { methods: ["GET"] },
    };
    const headers = { x: "1", y: "1" };
    const query = "?v=1&w=1";
    assert.equal(take(wants, { headers, query }), "method");
    assert.equal(take(wants, { method: "PUT", headers, query }), "headers");
    assert.equal(take(wants, { method: "PUT", headers: { x: "1" }, query }), "header");
    assert.equal(take(wants, { method: "PUT", query }), "two");
    assert.equal(take(wants, { method: "PUT", query: "?v=1" }), "query");
    assert.equal(take(wants, { method: "PUT" }), "plain");
  });

  it("takes any of several matches", () => {
    const wants = { many: [{ path: "/a" }, { path: exact("/b") }] };
    assert.equal(take(wants, { path: "/a/x" }), "many");
    assert.equal(take(wants, { path: "/b" }), "many");
    assert.equal(take(wants, { path: "/b/x" }), "none");
  });
});

describe("a template", () => {
  it("matches the whole path, one non-empty element per parameter", () => {
    const wants = { t: { path: template("/a/{x}/b/{y}") } };
    assert.equal(take(wants, { path: "/a/1/b/2" }), "t");
    for (const path of ["/a//b/2", "/a/1/b/", "/a/1/b", "/a/1/b/2/3", "/a/1/b/2/", "/a/1/c/2"]) {
      assert.equal(take(wants, { path }), "none", path);
    }
  });

  it("leaves the choice between equal starts to the file", () => {
    const wants = { any: { path: template("/a/{x}/{y}") }, b: { path: template("/a/{x}/b") } };
    assert.equal(take(wants, { path: "/a/1/b" }), "any");
  });

  it("is refused when a parameter is less than an element", () => {
    for (const path of ["/a/{x}.json", "/a/x{y}", "/{}", "/{a b}", "a/{x}"]) {
      assert.throws(() => compileRouter(rulesOf({ t: { path: template(path) } })), TypeError);
    }
  });
});

describe("hosts", () => {
  const wants = {
    every: {},
    suffix: { hosts: ["*.example.com"] },
    deeper: { hosts: ["*.b.example.com"] },
    exact: { hosts: ["a.b.example.com"] },
  };
  const cases: readonly (readonly [string, string])[] = [
    ["a.b.example.com", "exact"],
    ["x.b.example.com", "deeper"],
    ["y.x.b.example.com", "deeper"],
    ["b.example.com", "suffix"],
    ["x.y.example.com", "suffix"],
    ["example.com", "every"],
    [".example.com", "every"],
    ["badexample.com", "every"],
    ["", "every"],
  ];
  for (const [host, route] of cases) {
    it(`sends ${host === "" ? "no host" : host} to ${route}`, () => {
      assert.equal(take(wants, { host }), route);
    });
  }

  it("fall back to the next less specific one when no route of theirs matches", () => {
    const wants = {
      every: {},
      suffix: { hosts: ["*.example.com"], path: "/b" },
      exact: { hosts: ["a.example.com"], path: "/a" },
    };
    assert.equal(take(wants, { host: "a.example.com", path: "/a" }), "exact");
    assert.equal(take(wants, { host: "a.example.com", path: "/b" }), "suffix");
    assert.equal(take(wants, { host: "a.example.com", path: "/c" }), "every");
  });

  it("beat every path", () => {
    const wants = { path: { path: exact("/a/b") }, host: { hosts: ["h"] } };
    assert.equal(take(wants, { path: "/a/b" }), "host");
  });

  it("are compared without case", () => {
    assert.equal(take({ a: { hosts: ["API.example.com"] } }, { host: "api.example.com" }), "a");
  });
});

describe("a method", () => {
  it("that alone differs is a 405 with what is allowed", () => {
    const wants = {
      read: { path: "/a", methods: ["GET", "HEAD"] },
      write: { path: "/a", methods: ["PUT"] },
      other: { path: "/b" },
    };
    assert.equal(take(wants, { method: "POST", path: "/a" }), "405 GET,HEAD,PUT");
    assert.equal(take(wants, { method: "POST", path: "/c" }), "none");
  });

  it("is no 405 when something else differs too", () => {
    const wants = { a: { path: "/a", methods: ["GET"], headers: { x: "1" } } };
    assert.equal(take(wants, { method: "POST", path: "/a" }), "none");
    assert.equal(take(wants, { method: "POST", path: "/a", headers: { x: "1" } }), "405 GET");
  });

  it("is no 405 when a less specific host takes it", () => {
    const wants = { all: {}, a: { hosts: ["h"], methods: ["GET"] } };
    assert.equal(take(wants, { method: "POST" }), "all");
  });

  it("is compared with case, and GET does not stand for HEAD", () => {
    const wants = { a: { methods: ["GET"] } };
    assert.equal(take(wants, { method: "get" }), "405 GET");
    assert.equal(take(wants, { method: "HEAD" }), "405 GET");
  });

  it("is known for a regex too", () => {
    const wants = { a: { path: regex("^/v\\d"), methods: ["GET"] } };
    assert.equal(take(wants, { method: "POST", path: "/v1" }), "405 GET");
  });
});

describe("the matched part", () => {
  const part = (path: string | PathRule, asked: string): string => {
    const result = compileRouter(rulesOf({ a: { path } })).match(queryOf({ path: asked }));
    return result.kind === "route" ? result.matchedPrefix : result.kind;
  };
  it("is the prefix, the whole exact or templated path, or the path up to the end of a regex", () => {
    assert.equal(part("/a", "/a/b"), "/a");
    assert.equal(part("/", "/a/b"), "/");
    assert.equal(part(exact("/a/b"), "/a/b"), "/a/b");
    assert.equal(part(template("/a/{x}"), "/a/b"), "/a/b");
    assert.equal(part(regex("^/v\\d+/"), "/v12/b"), "/v12/");
  });
});

describe("the literal start of an expression", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["^/v\\d+/", "/v"],
    ["^/a\\.b\\/c$", "/a.b/c"],
    ["^/ab?c", "/a"],
    ["^/ab*", "/a"],
    ["^/ab+c", "/ab"],
    ["^/ab{2}", "/a"],
    ["^/a|^/b", ""],
    ["^/a(b|c)", "/a"],
    ["^(/a|/b)", ""],
    ["^/a[|]", "/a"],
    ["^/a[^]|]b", "/a"],
    ["^/a\\|b", "/a|b"],
    ["^/a(b)|c", ""],
    ["(?i)^/a", ""],
    ["/a", ""],
    ["^", ""],
    ["^/a.", "/a"],
    ["^/a(?i)?", ""],
    ["^/a(?i)b", "/a"],
    ["^/a(?:b)", "/a"],
    ["^/a\\Q(\\E|x", ""],
    ["^/a[[:alpha:](]|x", ""],
    ["^/a[[:alpha:]]b", "/a"],
  ];
  for (const [pattern, literal] of cases) {
    it(`of ${pattern} is ${JSON.stringify(literal)}`, () => {
      assert.equal(regexLiteral(pattern), literal);
    });
  }

  it("starts every path that the expression is found in", () => {
    const piece = fc.constantFrom(
      ..."/ab.^$|()[]?*+{}\\".split(""),
      "a",
      "/",
      "\\d",
      "\\.",
      "(?:",
      "(?i)",
      "{2}",
      "{0,1}",
      "[^",
      "\\Q",
      "\\E",
      "\\b",
      "\\x61",
      "[:alpha:]",
    );
    const pattern = fc.array(piece, { maxLength: 8 }).map((parts) => `^/${parts.join("")}`);
    const path = fc.string({ unit: fc.constantFrom(..."/abA.1|^"), maxLength: 6 });
    fc.assert(
      fc.property(pattern, fc.array(path, { minLength: 20, maxLength: 20 }), (text, paths) => {
        let regex: RE2JS;
        try {
          regex = RE2JS.compile(text);
        } catch {
          return;
        }
        const literal = regexLiteral(text);
        for (const one of paths) {
          if (regex.test(`/${one}`)) assert.ok(`/${one}`.startsWith(literal), `${text} in /${one}`);
        }
      }),
      { numRuns: 3_000 },
    );
  });
});

describe("many routes", () => {
  it("that differ in one header or parameter alone are told apart", () => {
    const wants: Record<string, Want> = { rest: {} };
    for (let i = 0; i < 500; i++) {
      wants[`tenant${i}`] = { headers: { "x-tenant": `t${i}` } };
      wants[`version${i}`] = { query: { v: `${i}` } };
    }
    wants["both"] = { headers: { "x-tenant": "t7", x: "1" } };
    const router = compileRouter(rulesOf(wants));
    const ask = (headers: Record<string, string>, query = ""): unknown => {
      const result = router.match(queryOf({ headers, query }));
      return result.kind === "route" ? result.value : result.kind;
    };
    assert.equal(ask({ "x-tenant": "t321" }), "tenant321");
    assert.equal(ask({ "x-tenant": "t7", x: "1" }), "both");
    assert.equal(ask({}, "?v=499"), "version499");
    assert.equal(ask({ "x-tenant": "t1" }, "?v=499"), "tenant1");
    assert.equal(ask({ "x-tenant": "nobody" }), "rest");
  });

  it("with expressions of the same start run as one", () => {
    const wants: Record<string, Want> = {};
    for (let i = 0; i < 200; i++) wants[`r${i}`] = { path: regex(`^/v\\d+/svc${i}/`) };
    const router = compileRouter(rulesOf(wants));
    const result = router.match(queryOf({ path: "/v3/svc137/x" }));
    assert.deepEqual(result, { kind: "route", value: "r137", matchedPrefix: "/v3/svc137/" });
    assert.equal(router.match(queryOf({ path: "/v3/svcx/x" })).kind, "none");
  });

  it("ask no more predicates of a request than few do", () => {
    const asked = (count: number): number => {
      let calls = 0;
      const rules: RouteRule<number>[] = Array.from({ length: count }, (_, i) => ({
        value: i,
        hosts: i % 2 === 0 ? [`h${i}.example.com`] : [],
        matches: [
          {
            path: { kind: i % 3 === 0 ? "template" : "prefix", value: `/p${i}/x` },
            methods: null,
            headers: [{ name: "x", exact: null, test: () => ++calls > 0 }],
            query: [],
          },
        ],
      }));
      const router = compileRouter(rules);
      router.match(queryOf({ host: "h4.example.com", path: "/p4/x/y" }));
      router.match(queryOf({ host: "h4.example.com", path: "/p5/x" }));
      router.match(queryOf({ host: "h9.example.com", path: "/p9/x" }));
      return calls;
    };
    assert.equal(asked(10), 3);
    assert.equal(asked(10_000), 3);
  });
});

describe("the table and the slow reference", () => {
  it("agree on small tables", () => fc.assert(routersAgree(6), { numRuns: 500 }));
  it("agree on tables long enough to be indexed", () =>
    fc.assert(routersAgree(60), { numRuns: 100 }));
});
