import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  normalisePath,
  queryValue,
  readAuthority,
  readTarget,
  splitAbsolute,
} from "../../proxy/http/target.ts";

function read(target: string): { target: string; path: string; query: string } | string {
  const into = { target: "", path: "", query: "" };
  return readTarget(into, target) ?? into;
}

function pathOf(target: string): string {
  const parts = read(target);
  return typeof parts === "string" ? `refused: ${parts}` : parts.path;
}

function authority(value: string): { authority: string; host: string } | string {
  const into = { authority: "", host: "" };
  return readAuthority(into, value) ?? into;
}

describe("a request target", () => {
  it("keeps a clean path as it is", () => {
    assert.deepEqual(read("/orders/1"), { target: "/orders/1", path: "/orders/1", query: "" });
  });

  it("splits at the first question mark and keeps it with the query", () => {
    assert.deepEqual(read("/a?b=1?c"), { target: "/a?b=1?c", path: "/a", query: "?b=1?c" });
    assert.deepEqual(read("/a?"), { target: "/a?", path: "/a", query: "?" });
  });

  it("keeps the received target beside the normalised path", () => {
    assert.deepEqual(read("/a/../%7Eb?x=%2e"), {
      target: "/a/../%7Eb?x=%2e",
      path: "/~b",
      query: "?x=%2e",
    });
  });

  const normalised: readonly (readonly [string, string])[] = [
    ["/a/./b", "/a/b"],
    ["/a/../b", "/b"],
    ["/a/b/..", "/a/"],
    ["/a/.", "/a/"],
    ["/..", "/"],
    ["/../../a", "/a"],
    ["/.", "/"],
    ["/...", "/..."],
    ["/.well-known/acme", "/.well-known/acme"],
    ["/a/.b/..c/d.", "/a/.b/..c/d."],
    ["//a//b//", "/a/b/"],
    ["/%61%41%2D%2e%5F%7e%30", "/aA-._~0"],
    ["/a/%2e%2E/b", "/b"],
    ["/%2e", "/"],
    ["/a%3ab%c3%a9", "/a%3Ab%C3%A9"],
    ["/%252f", "/%252f"],
    ["/%25%32%65", "/%252e"],
    ["/Orders", "/Orders"],
    ["/a;v=1/b", "/a;v=1/b"],
    ["/a/b//c/../d", "/a/b/d"],
    ["/\u00e9", "/\u00e9"],
  ];
  for (const [from, to] of normalised) {
    it(`reads ${from} as ${to}`, () => assert.equal(pathOf(from), to));
  }

  const refused: readonly (readonly [string, RegExp])[] = [
    ["/a%2fb", /encoded slash/],
    ["/a%2Fb", /encoded slash/],
    ["/a%5cb", /encoded backslash/],
    ["/a%00", /encoded NUL/],
    ["/a\\b", /backslash/],
    ["/a\u0001", /control character/],
    ["/a b", /space/],
    ["/a\u007f", /control character/],
    ["/a?b\u0000", /query has a control character/],
    ["/a#b", /fragment/],
    ["/a?b#c", /fragment/],
    ["/a%", /percent sign/],
    ["/a%4", /percent sign/],
    ["/a%zz", /percent sign/],
    ["/a/..;/b", /dot segment with a parameter/],
    ["/a/..%3bx/b", /dot segment with a parameter/],
    ["/a/%2e%2e;/b", /dot segment with a parameter/],
    ["/a/.;/b", /dot segment with a parameter/],
    ["/a//../b", /follows a double slash/],
    ["/a//b/../../c", /follows a double slash/],
    ["", /absolute path/],
    ["a", /absolute path/],
    ["*", /absolute path/],
  ];
  for (const [target, reason] of refused) {
    it(`refuses ${JSON.stringify(target)}`, () => {
      const parts = read(target);
      assert.ok(typeof parts === "string", `${target} was read as ${JSON.stringify(parts)}`);
      assert.match(parts, reason);
    });
  }

  const texts = fc
    .array(
      fc.constantFrom(
        "/",
        "//",
        ".",
        "..",
        "a",
        "B",
        "%2e",
        "%2E",
        "%41",
        "%3a",
        "~",
        ";",
        "?",
        "é",
      ),
      { maxLength: 12 },
    )
    .map((parts) => `/${parts.join("")}`);

  it("is read to a path that reads as itself", () => {
    fc.assert(
      fc.property(texts, (target) => {
        const parts = read(target);
        if (typeof parts === "string") return;
        assert.equal(normalisePath(parts.path), parts.path);
        assert.equal(pathOf(parts.path), parts.path);
      }),
    );
  });

  it("agrees with URL wherever a path has no double slash", () => {
    fc.assert(
      fc.property(texts, (target) => {
        const parts = read(target);
        const [raw = ""] = target.split("?");
        if (typeof parts === "string" || raw.includes("//")) return;
        const decoded = raw
          .replaceAll("%41", "A")
          .replaceAll("%3a", "%3A")
          .replaceAll(/%2e/gi, ".");
        const expected = new URL(`http://h${decoded}`).pathname;
        assert.equal(new URL(`http://h${parts.path}`).pathname, expected);
      }),
    );
  });

  it("leaves no way out in any text", () => {
    const hostile = fc.string({ unit: fc.constantFrom(..."/.%2eEfF5cC0;\\? a\u0000\u0080") });
    fc.assert(
      fc.property(hostile, (text) => {
        const parts = read(`/${text}`);
        if (typeof parts === "string") return;
        assert.doesNotMatch(parts.path, /\/\.{1,2}(\/|$|;)|\/\/|\\|%2f|%5c|%00|[\0-\x20]/i);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("an absolute target", () => {
  it("comes apart into scheme, authority and origin form", () => {
    assert.deepEqual(splitAbsolute("HTTP://Example.com:8080/a?b"), {
      scheme: "http",
      authority: "Example.com:8080",
      target: "/a?b",
    });
  });

  it("gets a slash when it has no path", () => {
    assert.equal(splitAbsolute("http://h")?.target, "/");
    assert.equal(splitAbsolute("http://h?x")?.target, "/?x");
  });

  it("is none without http, https or an authority", () => {
    for (const text of ["/a", "ftp://h/", "http:///a", "http:/a", "h:80"]) {
      assert.equal(splitAbsolute(text), null, text);
    }
  });
});

describe("an authority", () => {
  const read: readonly (readonly [string, string, string])[] = [
    ["example.com", "example.com", "example.com"],
    ["Example.COM:8080", "example.com:8080", "example.com"],
    ["example.com.", "example.com.", "example.com"],
    ["example.com.:80", "example.com.:80", "example.com"],
    ["[::1]", "[::1]", "[::1]"],
    ["[FE80::1]:443", "[fe80::1]:443", "[fe80::1]"],
    ["127.0.0.1:1", "127.0.0.1:1", "127.0.0.1"],
    ["a_b", "a_b", "a_b"],
    ["h:", "h:", "h"],
    ["", "", ""],
  ];
  for (const [value, expected, host] of read) {
    it(`reads ${JSON.stringify(value)} as the host ${JSON.stringify(host)}`, () => {
      assert.deepEqual(authority(value), { authority: expected, host });
    });
  }

  const refused = [
    "user@h",
    "h/a",
    "h,i",
    "a b",
    "h:80:81",
    "h:x",
    "h:65536",
    "h:-1",
    ":80",
    "[::1",
    "[::1]x",
    "[g::1]",
    "h\u00e9",
    "h%41",
    "h\u0000",
    "a".repeat(256),
  ];
  for (const value of refused) {
    it(`refuses ${JSON.stringify(value.slice(0, 20))}`, () => {
      assert.equal(typeof authority(value), "string");
    });
  }

  it("is never read to a host with an upper-case letter, whatever comes", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 20 }), (value) => {
        const parts = authority(value);
        if (typeof parts !== "string") assert.match(parts.host, /^[^A-Z/@\s]*$/);
      }),
    );
  });
});

describe("a query parameter", () => {
  it("is the first of its name, decoded", () => {
    assert.equal(queryValue("?a=1&v=2&v=3", "v"), "2");
    assert.equal(queryValue("?v=a%20b+c", "v"), "a b c");
    assert.equal(queryValue("?%76=1", "v"), "1");
  });

  it("is empty without a value and undefined when absent", () => {
    assert.equal(queryValue("?v", "v"), "");
    assert.equal(queryValue("?v=&x", "v"), "");
    assert.equal(queryValue("?vv=1", "v"), undefined);
    assert.equal(queryValue("", "v"), undefined);
  });

  it("is taken as it stands when it is no UTF-8", () => {
    assert.equal(queryValue("?v=%ff", "v"), "%ff");
    assert.equal(queryValue("?v=%", "v"), "%");
  });

  it("is looked for in one walk, however many pairs there are", () => {
    let reads = 0;
    class Counting extends String {
      override charCodeAt(i: number): number {
        reads++;
        return super.charCodeAt(i);
      }
    }
    const query = new Counting(`?${"&".repeat(1_000)}a=1&`.repeat(10));
    assert.equal(queryValue(query as unknown as string, "b"), undefined);
    assert.ok(reads <= query.length + 1, `${reads} reads of ${query.length} characters`);
  });

  it("agrees with URLSearchParams on well-formed queries", () => {
    const pairs = fc.array(fc.tuple(fc.constantFrom("a", "b c", "é", "&"), fc.string()));
    fc.assert(
      fc.property(pairs, (list) => {
        const params = new URLSearchParams(list.filter(([, v]) => v.isWellFormed()));
        for (const [name] of list) {
          assert.equal(queryValue(`?${params}`, name) ?? null, params.get(name));
        }
      }),
    );
  });
});
