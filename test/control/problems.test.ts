import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatProblems, locate, parseConfigText } from "../../control/load.ts";
import { linesOf, problemOf, problemsOf } from "./loading.ts";

describe("a problem", () => {
  it("is printed with its place, its line, a caret, what was expected and a likely intention", async () => {
    const problems = await problemsOf("gateway:\n  listeners:\n    - { name: web, prt: 8080 }\n");
    const text = formatProblems(problems, { color: false }).replace(/^.*weft\.yaml/, "weft.yaml");
    assert.equal(
      text,
      [
        'weft.yaml:3:20: gateway.listeners[0].prt: unknown key "prt"',
        "  3 |     - { name: web, prt: 8080 }",
        "    |                    ^^^",
        "  expected: one of name, host, port, protocol, tls, proxyProtocol, to, sni, plugins",
        '  did you mean "port"?',
      ].join("\n"),
    );
  });

  it("is coloured on request", async () => {
    const problems = await problemsOf("rutes: []");
    assert.match(formatProblems(problems, { color: true }), /\p{Cc}\[31m/u);
  });

  it("points at the key when the key is unknown and at the value otherwise", async () => {
    assert.deepEqual(
      await linesOf("routes:\n  - name: a\n    too: x\n    policy:\n      timeout: soon\n"),
      ['3:5 unknown key "too"', '5:16 "soon" is not a duration'],
    );
  });

  it("comes earliest first, whatever finds it", async () => {
    const text = [
      "services: { a: { endpoints: [] }, b: { endpoints: [x] } }", // an address that is none
      "routes:",
      "  - { name: r, to: nope }", // a name that nothing has
      "  - { name: q, to: a, polcy: x, plugins: [{ jwtt: {} }] }", // an unknown key, an unknown plugin
      "  - { name: q, to: b, policy: pp }", // twice; a service that was refused is not unknown
      "drainTimeout: 1w", // a unit that is none
    ].join("\n");
    assert.deepEqual(await linesOf(text), [
      '1:52 "x" is not an address',
      '3:20 no service is named "nope"',
      '4:23 unknown key "polcy"',
      '4:45 no plugin is named "jwtt"',
      '5:13 the route "q" is here twice',
      '5:31 no policy is named "pp"',
      '6:15 "1w" is not a duration',
    ]);
  });

  it("is one problem when one mistake breaks two rules", async () => {
    assert.deepEqual(await linesOf("gateway: { listeners: [{ prt: 80 }] }"), [
      '1:26 unknown key "prt"',
    ]);
    assert.deepEqual(await linesOf("services: { a: { endpoint: [] } }"), [
      '1:18 unknown key "endpoint"',
    ]);
    assert.deepEqual(await linesOf("routes: [{ redirct: { path: /x } }]"), [
      '1:12 unknown key "redirct"',
    ]);
  });

  it("keeps the place of list items behind one that was refused", async () => {
    const text =
      "services: { a: { endpoints: [] } }\nroutes:\n  - 5\n  - { to: a }\n  - { to: zz }\n";
    assert.deepEqual(await linesOf(text), [
      "3:5 5 cannot stand here",
      '5:11 no service is named "zz"',
    ]);
  });

  it("points into flow mappings, block lists, quoted keys and through aliases", async () => {
    const text = ["x-a: 1", "policies:", '  "default": &p { timeout: 5 }', "  other: *p"].join(
      "\n",
    );
    assert.deepEqual(await linesOf(text), ['1:1 unknown key "x-a"', "3:28 5 has no unit"]);
  });

  it("counts a column in UTF-16 units and a line by its feed, with or without a carriage return", async () => {
    assert.deepEqual(await linesOf("# ü€😀\r\ndrainTimeout: x\r\n"), [
      '2:15 "x" is not a duration',
    ]);
    assert.deepEqual(await linesOf("\ufeffdrainTimeout: x"), ['1:16 "x" is not a duration']);
  });

  it("never sends control characters of a file to a terminal", async () => {
    const problems = await problemsOf('"\\e[31mred\\a": 1\nx: "\u202e"\n');
    assert.doesNotMatch(formatProblems(problems, { color: false }), /(?!\n)\p{Cc}|\u202e/u);
  });

  it("cuts a very long line around the place", async () => {
    const problems = await problemsOf(
      `{ gateway: { listeners: [${"{ port: 1 }, ".repeat(500)} { port: x }] } }`,
    );
    const text = formatProblems(problems.slice(-1), { color: false });
    assert.ok(text.split("\n").every((line) => line.length < 250));
  });

  it("prints twenty and counts the others", async () => {
    const problems = await problemsOf(
      Array.from({ length: 30 }, (_, index) => `key${index}: 1`).join("\n"),
    );
    assert.match(formatProblems(problems, { color: false }), /and 10 more$/);
  });

  it("hides secrets in the line that it shows", async () => {
    for (const text of [
      "consumers: [{ name: a, keys: [hunter2] }]",
      'stores: { redis: "http://me:hunter2@127.0.0.1" }',
      'admin: { address: "127.0.0.1:1", token: [hunter2] }',
      "admin: { address: '127.0.0.1:1', token: 0hunter2: 1 }",
      'admin: { addres: "127.0.0.1:1", "token": "hunter2" }',
      "plugins: [{ jwt: { keys: [{ secret: hunter2 }], isuer: x } }]",
      "consumers:\n  - name: a\n    keys:\n      - hunter2\n",
    ]) {
      const problems = await problemsOf(text);
      assert.doesNotMatch(formatProblems(problems, { color: false }), /hunter2/, text);
    }
  });
});

describe("the text of a problem", () => {
  const cases: readonly (readonly [text: string, message: RegExp, suggestion: RegExp | null])[] = [
    ["drainTimeout: 30 secs", /"30 secs" is not a duration/, /did you mean "30s"/],
    ["drainTimeout: 30", /30 has no unit/, /"30s"/],
    ["drainTimeout: 1000h", /too long/, null],
    ["plans: { a: { limit: 100 per minute } }", /is not a rate/, /"100\/min"/],
    [
      "gateway: { listeners: [{ port: 80 }], limits: { headerBytes: 64k } }",
      /is not a size/,
      /"64KiB"/,
    ],
    ["gateway: { listeners: [{ port: 65536 }] }", /65536 cannot stand here/, null],
    ["gateway: { listeners: [{ port: 80.5 }] }", /80.5 cannot stand here/, null],
    ["gateway: { listeners: [] }", /an empty list cannot stand here/, null],
    ["gateway:", /this is empty/, null],
    [
      'services: { a: { endpoints: ["http://127.0.0.1:80/x"] } }',
      /is not an address/,
      /"127.0.0.1:80"/,
    ],
    ['services: { a: { endpoints: ["127.0.0.1"] } }', /is not an address/, null],
    ['services: { a: { endpoints: ["::1:80"] } }', /is not an address/, null],
    ['services: { a: { endpoints: ["1.2.3:80"] } }', /is not an address/, null],
    ['services: { a: { endpoints: ["a:0"] } }', /is not an address/, null],
    ['services: { "a b": { endpoints: [] } }', /"a b" is not a good name/, null],
    ["services: { a: {} }", /"endpoints" is missing/, null],
    ["routes: [{ match: { path: orders }, respond: {} }]", /"orders" is not a path/, /"\/orders"/],
    ['routes: [{ match: { path: { regex: "(?=a)" } }, respond: {} }]', /look-around/, null],
    ['routes: [{ match: { path: { regex: "(a" } }, respond: {} }]', /cannot be read/, null],
    ['routes: [{ match: { path: { template: "/a/{id}x" } }, respond: {} }]', /whole element/, null],
    ['routes: [{ match: { path: { template: "/{a}/{a}" } }, respond: {} }]', /twice/, null],
    [
      "routes: [{ match: { path: { exact: /a, prefix: /b } }, respond: {} }]",
      /cannot stand beside/,
      null,
    ],
    ["routes: [{ match: { methods: [get] }, respond: {} }]", /"get" is not a method/, /"GET"/],
    [
      "routes: [{ match: { headers: { x: 1 } }, respond: {} }]",
      /1 cannot stand here/,
      /in quotes: "1"/,
    ],
    ['routes: [{ match: { headers: { "a b": x } }, respond: {} }]', /not a header name/, null],
    [
      'routes: [{ hosts: ["https://a.example.com/x"], respond: {} }]',
      /is not a host/,
      /"a.example.com"/,
    ],
    ['routes: [{ hosts: ["*"], respond: {} }]', /is not a host/, /leave "hosts" out/],
    ['routes: [{ hosts: ["a.*.com"], respond: {} }]', /is not a host/, null],
    ["routes: [{ name: a }]", /needs one of to, redirect, respond, app/, null],
    [
      "routes: [{ respond: {}, redirect: { path: / } }]",
      /"respond" cannot stand beside "redirect"/,
      null,
    ],
    ["routes: [{ redirect: {} }]", /leads back/, null],
    ["routes: [{ redirect: { path: /a, status: 200 } }]", /200 cannot stand here/, null],
    ["routes: [{ respond: { status: 99 } }]", /99 cannot stand here/, null],
    ["routes: [{ respond: { status: 204, body: x } }]", /has no body/, null],
    [
      'routes: [{ respond: { headers: { content-length: "5" } } }]',
      /sets this header itself/,
      null,
    ],
    ['routes: [{ respond: { headers: { x: "a\\r\\nb: c" } } }]', /line break/, null],
    ["routes: [{ respond: {}, rewrite: { path: /x } }]", /nothing goes upstream/, null],
    [
      "services: { a: { endpoints: [] } }\nroutes: [{ to: [{ service: a, weight: 0 }] }]",
      /every weight is 0/,
      null,
    ],
    ["services: { a: { endpoints: [] } }\nroutes: [{ to: [] }]", /cannot stand here/, null],
    ["routes: [{ respond: {}, plugins: [{ when: x }] }]", /no plugin is named here/, null],
    ["routes: [{ respond: {}, plugins: [{ cors: {}, whn: x }] }]", /unknown key "whn"/, /"when"/],
    [
      "routes: [{ respond: {}, plugins: [{ cors: {}, headers: {} }] }]",
      /unknown key "headers"/,
      /another item/,
    ],
    [
      "routes: [{ respond: {}, plugins: [{ cors: {}, stage: early }] }]",
      /"early" is not known here/,
      null,
    ],
    [
      "routes: [{ respond: {}, plugins: [{ cors: {}, enforced: true }] }]",
      /means nothing on a route/,
      null,
    ],
    ["policies: { a: { retry: { on: [5xx] } } }", /"5xx" is not a reason to retry/, null],
    ["policies: { a: { balance: emwa } }", /"emwa" is not known here/, /"ewma"/],
    ["consumers: [{ name: a, keys: [secret] }]", /not the hash of a key/, /weft key create/],
    ['stores: { redis: "127.0.0.1:6379" }', /not the URL of a Redis/, null],
    ['mesh: { service: a, trustDomain: "Weft Local" }', /not a trust domain/, null],
    ['access: { rules: [{ to: a, from: ["spiffe:/x"] }] }', /is no caller/, null],
    ['access: { rules: [{ to: a, from: [b], paths: ["/a/*/b"] }] }', /not a path pattern/, null],
    ["workers: 0", /0 cannot stand here/, null],
    ["observe: { accessLog: { sample: 2 } }", /2 cannot stand here/, null],
    ["a: &a [1]\na: 2", /the key "a" is here twice/, null],
    ["a: *nope", /./, null],
    ["? [a]\n: 1", /this key is not a text/, null],
    ["a: !!binary aGk=", /./, null],
    ["a: 1\n---\nb: 2", /second YAML document/, null],
    ["a:\n\t- 1", /./, null],
    ["routes: [{ match: { path: /a/../b }, respond: {} }]", /dot segment/, null],
    ["routes: [{ respond: {}, timeout: 5s }]", /unknown key/, /belongs in policy: { timeout }/],
    ["routes: [{ respond: {}, path: /x }]", /unknown key/, /belongs in match: { path }/],
    [
      "routes: [{ respond: {}, attempts: 3 }]",
      /unknown key/,
      /belongs in policy: { retry: { attempts } }/,
    ],
    ["limits: { connections: 1 }", /unknown key/, /belongs in gateway: { limits }/],
    ["listeners: []", /unknown key/, /belongs in gateway: { listeners }/],
    ["tls: {}", /unknown key/, /belongs in gateway: { listeners: \[{ tls }\] }/],
    ["backends: {}", /unknown key/, /"services"/],
    ["middlewares: []", /unknown key/, /"plugins"/],
    ["services: { a: { url: x } }", /unknown key/, /"endpoints"/],
    ["routes: [{ redirect: { to: /b } }]", /unknown key "to"/, null],
    ["plugins:\n  - jwt:\n    issuer: https://x\n", /unknown key "issuer"/, /indented below/],
    ["plugins:\n  - name: jwt\n    options: {}\n", /unknown key "options"/, /- jwt: { ... }/],
    ["plugins: [{ whn: x, cors: {} }]", /unknown key "whn"/, /"when"/],
    ["plugins: [{ cors: {}, when: true }]", /true cannot stand here/, /in quotes/],
    ["admin: { token: 12345 }", /this cannot stand here/, /in quotes/],
    ["drainTimeout: 30000", /no unit/, /"30000ms"/],
    ["a: !secret x", /tag/i, null],
    ["gateway: { listeners: [{ port: 1 }], limits: { headerBytes: 1 } }", /out of range/, null],
    [
      "services: { a: { endpoints: [] } }\nroutes: [{ to: a, rewrite: { host: 'a b' } }]",
      /is not a host/,
      null,
    ],
    ["services: { a: { endpoints: [], health: { path: healthz } } }", /is not a path/, null],
    ["a: [1", /not YAML/, null],
  ];
  for (const [text, message, suggestion] of cases) {
    it(`for ${JSON.stringify(text)}`, async () => {
      const problem = await problemOf(text);
      assert.match(problem.message, message);
      if (suggestion !== null) assert.match(problem.suggestion ?? "", suggestion);
      assert.ok(problem.line >= 1 && problem.column >= 1);
    });
  }
});

describe("a problem met later", () => {
  const text =
    "plugins:\n  - request-id: { header: x }\nservices:\n  a: { endpoints: [127.0.0.1:1] }\nroutes:\n  - match: { path: /x }\n    to: a\n";

  it("is found by its path, also where a value stands for a list or a key is not there", async () => {
    const result = await parseConfigText(text, {
      file: "/x/weft.yaml",
      format: "yaml",
      mode: "check",
      env: {},
    });
    assert.ok(result.ok);
    const at = (path: readonly (string | number)[], where: "key" | "value" = "value"): string => {
      const [problem] = locate(result.source, [{ path, at: where, message: "m" }]);
      return `${problem?.line}:${problem?.column}`;
    };
    assert.equal(at(["plugins", 0, "request-id", "header"]), "2:27");
    assert.equal(at(["plugins", 0, "request-id"], "key"), "2:5");
    assert.equal(at(["routes", 0, "match", 0, "path", "value"]), "6:20");
    assert.equal(at(["routes", 0, "to", 0, "service"]), "7:9");
    assert.equal(at(["services", "a", "endpoints", 0, "address"]), "4:20");
    assert.equal(at(["services", "a", "policy", "timeout"]), "4:6");
    assert.equal(at(["routes", 9, "x"]), "6:3");
    assert.equal(at([]), "1:1");
  });

  it("is found from a copy of the source, as another thread has it", async () => {
    const result = await parseConfigText(text, {
      file: "weft.yaml",
      format: "yaml",
      mode: "check",
      env: {},
    });
    const [problem] = locate(structuredClone(result.source), [
      { path: ["services", "a"], at: "key", message: "m" },
    ]);
    assert.equal(problem?.line, 4);
  });
});
