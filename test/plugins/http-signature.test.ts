import assert from "node:assert/strict";
import {
  createHash,
  createHmac,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  sign,
} from "node:crypto";
import type { KeyObject } from "node:crypto";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { calculateJwkThumbprint } from "jose";
import { parseDictionary } from "structured-headers";
import type { InnerList } from "structured-headers";
import { ComponentError, signatureBase } from "../../plugins/signature-base.ts";
import { isSignedBy } from "../../plugins/signature-keys.ts";
import { RequestHead } from "../../proxy/http/head.ts";
import { createKit } from "../support/plugin-kit.ts";
import type { KitRequest, PluginKit } from "../support/plugin-kit.ts";

/** The request of RFC 9421 appendix B.2, as it would be read from the wire. */
function sampleRequest(): RequestHead {
  const req = new RequestHead();
  req.method = "POST";
  req.target = "/foo?param=Value&Pet=dog";
  req.path = "/foo";
  req.query = "?param=Value&Pet=dog";
  req.authority = req.host = "example.com";
  const fields = [
    ["Host", "example.com"],
    ["Date", "Tue, 20 Apr 2021 02:07:55 GMT"],
    ["Content-Type", "application/json"],
    [
      "Content-Digest",
      "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
    ],
    ["Content-Length", "18"],
  ] as const;
  const { headers } = req;
  const offsets: number[] = [];
  for (const [name, value] of fields) {
    const at = headers.raw.length;
    headers.raw += `${name}: ${value}\r\n`;
    offsets.push(at, at + name.length, at + name.length + 2, at + name.length + 2 + value.length);
  }
  headers.offsets = Int32Array.from(offsets);
  headers.kinds = new Uint8Array(fields.length);
  headers.count = fields.length;
  return req;
}

const consumer = { name: "acme", plan: null, groups: [] };
const ed25519 = createPublicKey(
  "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----",
);
const shared = createSecretKey(
  "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==",
  "base64",
);

for (const [name, key, algorithm, input, signature] of [
  [
    "B.2.5 (hmac-sha256)",
    shared,
    "hmac-sha256",
    '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
    "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
  ],
  [
    "B.2.6 (ed25519)",
    ed25519,
    "ed25519",
    '("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"',
    "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
  ],
] as const) {
  test(`verifies the signature of RFC 9421 appendix ${name}`, () => {
    const req = sampleRequest();
    const inner = parseDictionary(`sig=${input}`).get("sig") as InnerList;
    const base = signatureBase(req, inner);
    const one = { consumer, key, algorithms: [algorithm] };
    const bytes = Buffer.from(signature, "base64");
    assert.equal(isSignedBy(one, null, base, bytes), true);
    assert.equal(isSignedBy(one, "rsa-pss-sha512", base, bytes), false);
    req.headers.set("date", "Tue, 20 Apr 2021 02:07:56 GMT");
    assert.equal(isSignedBy(one, null, signatureBase(req, inner), bytes), false);
  });
}

for (const [component, value] of [
  ['"@method"', "POST"],
  ['"@authority"', "example.com"],
  ['"@scheme"', "http"],
  ['"@target-uri"', "http://example.com/foo?param=Value&Pet=dog"],
  ['"@request-target"', "/foo?param=Value&Pet=dog"],
  ['"@path"', "/foo"],
  ['"@query"', "?param=Value&Pet=dog"],
  ['"@query-param";name="Pet"', "dog"],
  ['"content-type";bs', ":YXBwbGljYXRpb24vanNvbg==:"],
  [
    '"content-digest";key="sha-512"',
    ":WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
  ],
]) {
  test(`the component ${component} is ${value!.slice(0, 40)}`, () => {
    const inner = parseDictionary(`sig=(${component})`).get("sig") as InnerList;
    const [line] = signatureBase(sampleRequest(), inner).split("\n");
    assert.equal(line, `${component}: ${value}`);
  });
}

for (const component of [
  '"@status"',
  '"@nothing"',
  '"@query-param"',
  '"@query-param";name="none"',
  '"@method";req',
  '"x-absent"',
  '"Date"',
  '"date";tr',
  '"content-digest";key="md5"',
  '"content-type";key="a"',
  '"date" "date"',
]) {
  test(`${component} cannot be signed here`, () => {
    const inner = parseDictionary(`sig=(${component})`).get("sig") as InnerList;
    assert.throws(() => signatureBase(sampleRequest(), inner), ComponentError);
  });
}

const secret = "a shared secret of at least 32 bytes";
const pair = generateKeyPairSync("ed25519");
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const pem = (key: KeyObject): string => key.export({ type: "spki", format: "pem" }).toString();
const consumers = [
  { name: "acme", keys: [`hmac:${secret}`, pem(pair.publicKey)], plan: "gold", groups: [] },
  { name: "globex", keys: [pem(ec.publicKey), pem(rsa.publicKey)], plan: null, groups: [] },
];

async function kitOf(t: TestContext, options: object = {}): Promise<PluginKit> {
  const kit = await createKit([{ use: "http-signature", options }], { consumers });
  t.after(() => kit.close());
  return kit;
}

type Signing = (base: Buffer) => Buffer;
const byHmac: Signing = (base) => createHmac("sha256", secret).update(base).digest();
const byEd25519: Signing = (base) => sign(null, base, pair.privateKey);

/** A signed request; `components` and `params` as they stand in Signature-Input. */
function signed(
  kit: PluginKit,
  request: KitRequest,
  {
    components = '"@method" "@target-uri"',
    params = ';keyid="acme"',
    by = byHmac,
    createdS = kit.wallMs / 1000,
  } = {},
): KitRequest {
  const req = new RequestHead();
  req.method = request.method ?? "GET";
  req.target = request.path ?? "/";
  const at = req.target.indexOf("?");
  req.query = at === -1 ? "" : req.target.slice(at);
  req.authority = "example.com";
  for (const [name, value] of Object.entries(request.headers ?? {})) req.headers.set(name, value);
  const input = `(${components});created=${Math.floor(createdS)}${params}`;
  const inner = parseDictionary(`sig=${input}`).get("sig") as InnerList;
  const signature = by(Buffer.from(signatureBase(req, inner), "latin1")).toString("base64");
  const headers = {
    ...request.headers,
    "signature-input": `sig=${input}`,
    signature: `sig=:${signature}:`,
  };
  return { ...request, headers };
}

const digestOf = (body: string): string =>
  `sha-256=:${createHash("sha256").update(body).digest("base64")}:`;

test("a signed request passes at once and names its consumer", async (t) => {
  const kit = await kitOf(t);
  const thumbprint = await calculateJwkThumbprint(
    pair.publicKey.export({ format: "jwk" }) as object,
  );
  for (const [by, params, name] of [
    [byHmac, ';keyid="acme";alg="hmac-sha256"', "acme"],
    [byEd25519, ';keyid="acme"', "acme"],
    [byEd25519, `;keyid="${thumbprint}";alg="ed25519"`, "acme"],
    [
      (base: Buffer) => sign("sha256", base, { key: ec.privateKey, dsaEncoding: "ieee-p1363" }),
      ';keyid="globex"',
      "globex",
    ],
    [
      (base: Buffer) => sign("sha512", base, { key: rsa.privateKey, padding: 6, saltLength: 64 }),
      ';keyid="globex";alg="rsa-pss-sha512"',
      "globex",
    ],
    [(base: Buffer) => sign("sha256", base, rsa.privateKey), ';keyid="globex"', "globex"],
  ] as const) {
    const answer = await kit.request(signed(kit, { path: "/a?b=1" }, { by, params }));
    assert.equal(answer.status, 200, String(answer.problem?.["detail"]));
    assert.equal(answer.wasSync, true);
    assert.equal(answer.seen?.headers["x-weft-consumer"], name);
  }
});

test("a body must have the digest that was signed", async (t) => {
  const kit = await kitOf(t);
  const components = '"@method" "@authority" "@path" "content-digest"';
  const headers = { "content-digest": digestOf("hello") };
  const post = { method: "POST", path: "/a", headers };
  const good = signed(kit, { ...post, body: ["he", "llo"] }, { components });
  const passed = await kit.request(good);
  assert.deepEqual([passed.status, passed.seen?.body], [200, "hello"]);
  const changed = await kit.request({ ...good, body: "hellO" });
  assert.equal(changed.status, 401);
  assert.equal(changed.seen, null);
  assert.equal((await kit.request({ ...good, body: "" })).status, 401);
  const without = signed(kit, { ...post, body: "hello" });
  assert.match(String((await kit.request(without)).problem?.["detail"]), /content-digest/);
  const weak = { "content-digest": "md5=:AAAA:" };
  const old = signed(kit, { ...post, headers: weak, body: "hello" }, { components });
  assert.equal((await kit.request(old)).status, 401);
  const large = await kit.request({ ...good, body: "x".repeat(1024 * 1024 + 1) });
  assert.equal(large.status, 413);
});

test("what was changed, is old, is from the future or covers too little is 401 with a challenge", async (t) => {
  const kit = await kitOf(t);
  const nowS = kit.wallMs / 1000;
  const good = signed(kit, { path: "/a?b=1" });
  const { headers } = good;
  const cases: [string, KitRequest, RegExp][] = [
    ["another path", { ...good, path: "/b?b=1" }, /no known key/],
    ["another query", { ...good, path: "/a?b=2" }, /no known key/],
    ["another method", { ...good, method: "DELETE" }, /no known key/],
    ["another host", { ...good, host: "evil.com" }, /no known key/],
    ["old", signed(kit, {}, { createdS: nowS - 331 }), /too old/],
    ["future", signed(kit, {}, { createdS: nowS + 31 }), /future/],
    ["expired", signed(kit, {}, { params: `;expires=${nowS - 31};keyid="acme"` }), /expired/],
    ["no method", signed(kit, {}, { components: '"@target-uri"' }), /does not cover @method/],
    [
      "no query",
      signed(kit, { path: "/?a=1" }, { components: '"@method" "@authority" "@path"' }),
      /does not cover @query/,
    ],
    ["nothing", signed(kit, {}, { components: "" }), /does not cover/],
    ["no key", signed(kit, {}, { params: "" }), /names no key/],
    ["a strange key", signed(kit, {}, { params: ';keyid="nobody"' }), /no known key/],
    ["another's key", signed(kit, {}, { params: ';keyid="globex"' }), /no known key/],
    [
      "another algorithm",
      signed(kit, {}, { params: ';keyid="acme";alg="ed25519"' }),
      /no known key/,
    ],
    [
      "the public key as a secret",
      signed(
        kit,
        {},
        { by: (base) => createHmac("sha256", pem(pair.publicKey)).update(base).digest() },
      ),
      /no known key/,
    ],
    [
      "no signature",
      { headers: { "signature-input": headers!["signature-input"]! } },
      /cannot be read/,
    ],
    ["no input", { headers: { signature: headers!["signature"]! } }, /cannot be read/],
    [
      "garbage",
      { headers: { "signature-input": "sig=((", signature: "sig=::" } },
      /cannot be read/,
    ],
    [
      "an item",
      { headers: { "signature-input": "sig=1", signature: "sig=:AA==:" } },
      /cannot be read/,
    ],
    [
      "huge",
      { headers: { "signature-input": `sig=(${'"a" '.repeat(20_000)})`, signature: "sig=:AA==:" } },
      /cannot be read/,
    ],
    ["absent", {}, /is needed/],
  ];
  for (const [what, request, detail] of cases) {
    const answer = await kit.request(request);
    assert.equal(answer.status, 401, what);
    assert.match(String(answer.problem?.["detail"]), detail, what);
    assert.match(answer.headers["www-authenticate"]!, /^Signature/);
  }
  assert.equal((await kit.request(good)).status, 200);
});

test("a signature with a nonce, or any with once, is good for one request", async (t) => {
  const kit = await kitOf(t);
  const request = signed(kit, {}, { params: ';nonce="n1";keyid="acme"' });
  assert.equal((await kit.request(request)).status, 200);
  const again = await kit.request(request);
  assert.match(String(again.problem?.["detail"]), /used before/);
  const plain = signed(kit, {});
  assert.equal((await kit.request(plain)).status, 200);
  assert.equal((await kit.request(plain)).status, 200);
  const strict = await kitOf(t, { once: true });
  assert.equal((await strict.request(plain)).status, 200);
  assert.equal((await strict.request(plain)).status, 401);
});

test("components, digest, tag and optional are as told", async (t) => {
  const kit = await kitOf(t, {
    components: ["@method", "x-id"],
    digest: false,
    tag: "orders",
    optional: true,
  });
  const components = '"@method" "x-id"';
  const params = ';keyid="acme";tag="orders"';
  const headers = { "x-id": "7" };
  const ask = async (request: KitRequest): Promise<number> => (await kit.request(request)).status;
  assert.equal(
    await ask(signed(kit, { headers, method: "POST", body: "x" }, { components, params })),
    200,
  );
  assert.equal(await ask(signed(kit, { headers }, { components })), 401);
  assert.equal(await ask(signed(kit, { headers }, { params })), 401);
  assert.equal(await ask({}), 200);
});
