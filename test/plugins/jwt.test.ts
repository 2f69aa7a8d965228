import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { CompactSign, SignJWT } from "jose";
import type { JWTPayload } from "jose";
import { Claims } from "../../proxy/pipeline/plugin.ts";
import { createIssuerKey, signToken } from "../support/key-server.ts";
import type { IssuerKey } from "../support/key-server.ts";
import { createKit } from "../support/plugin-kit.ts";
import type { KitOptions, PluginKit } from "../support/plugin-kit.ts";

const issuer = "https://id.example.com/";
let rsa: IssuerKey;
let ec: IssuerKey;
let ed: IssuerKey;
let folder: string;

before(async () => {
  [rsa, ec, ed, folder] = await Promise.all([
    createIssuerKey("rsa"),
    createIssuerKey("ec", "ES256"),
    createIssuerKey("ed", "EdDSA"),
    mkdtemp(path.join(tmpdir(), "weft-jwt-")),
  ]);
});
after(() => rm(folder, { recursive: true }));

async function kitOf(
  t: { after(run: () => Promise<void>): void },
  options: object,
  more: KitOptions = {},
): Promise<PluginKit> {
  const kit = await createKit([{ use: "jwt", options }], more);
  t.after(() => kit.close());
  return kit;
}

const secondsOf = (kit: PluginKit): number => kit.wallMs / 1000;
const good = (kit: PluginKit, more: JWTPayload = {}): JWTPayload => ({
  iss: issuer,
  aud: "api",
  sub: "alice",
  exp: secondsOf(kit) + 300,
  ...more,
});
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

test("a good token passes, and its second use is not waited for", async (t) => {
  const kit = await kitOf(t, { issuer, audience: "api", keys: [rsa.publicJwk] });
  const token = await signToken(rsa, good(kit));
  const first = await kit.request(bearer(token));
  assert.equal(first.status, 200);
  assert.equal(first.wasSync, false);
  assert.equal(first.seen?.headers["x-weft-consumer"], "alice");
  assert.equal(first.ctx.get(Claims)?.["sub"], "alice");
  const second = await kit.request(bearer(token));
  assert.equal(second.status, 200);
  assert.equal(second.wasSync, true);
  assert.equal(second.ctx.consumer?.name, "alice");
});

test("a remembered token is refused once it has expired", async (t) => {
  const kit = await kitOf(t, { keys: [rsa.publicJwk], clockSkew: "10s" });
  const token = await signToken(rsa, good(kit));
  assert.equal((await kit.request(bearer(token))).status, 200);
  const pass = (seconds: number): void => {
    kit.nowMs += seconds * 1000;
    kit.wallMs += seconds * 1000;
  };
  pass(305);
  assert.equal((await kit.request(bearer(token))).status, 200);
  pass(10);
  const answer = await kit.request(bearer(token));
  assert.equal(answer.status, 401);
  assert.match(answer.headers["www-authenticate"]!, /error="invalid_token".*expired/);
});

test("no token is 401 with a challenge that names no error", async (t) => {
  const kit = await kitOf(t, { keys: [rsa.publicJwk] });
  for (const headers of [{}, { authorization: "Basic YTpi" }, { authorization: "Bearer" }]) {
    const answer = await kit.request({ headers });
    assert.equal(answer.status, 401);
    assert.equal(answer.headers["www-authenticate"], 'Bearer realm="weft"');
  }
});

for (const [what, make, reason] of [
  ["an expired one", (kit) => signToken(rsa, good(kit, { exp: secondsOf(kit) - 31 })), /expired/],
  [
    "one for later",
    (kit) => signToken(rsa, good(kit, { nbf: secondsOf(kit) + 60 })),
    /not valid yet/,
  ],
  ["another issuer's", (kit) => signToken(rsa, good(kit, { iss: "https://evil" })), /issuer/],
  ["one for others", (kit) => signToken(rsa, good(kit, { aud: "web" })), /audience/],
  [
    "one by another key of that name",
    async (kit) => signToken(await createIssuerKey("rsa"), good(kit)),
    /signature/,
  ],
  [
    "one by an unknown key",
    async (kit) => signToken(await createIssuerKey("new"), good(kit)),
    /no key/,
  ],
  [
    "one of an algorithm that is not allowed",
    (kit) => signToken(ec, good(kit)),
    /ES256 is not allowed/,
  ],
  ["garbage", () => "a.b.c", /cannot be read/],
  ["a long text", () => "x".repeat(20_000), /too long/],
  ["64 KiB", () => "x".repeat(65_536), /too long/],
  [
    "one whose key id is a path",
    async (kit) => signToken(await createIssuerKey("../../etc/passwd\\0"), good(kit)),
    /no key/,
  ],
  [
    "one that brings its own key",
    async (kit) => {
      const own = await createIssuerKey("rsa");
      return signToken(own, good(kit), { jwk: own.publicJwk, jku: "https://evil.example/jwks" });
    },
    /signature/,
  ],
  ["one whose key id is no text", () => withHeader('{"alg":"RS256","kid":["rsa"]}'), /signature/],
  ["one whose header is a list", () => withHeader("[]"), /cannot be read/],
  [
    "one that names its algorithm twice",
    () => withHeader('{"alg":"RS256","alg":"none"}'),
    /a name twice/,
  ],
  [
    "a good one that names its subject twice",
    (kit) => signText(`{"sub":"alice","role":"user",${rest(kit)},"sub":"root"}`),
    /a name twice/,
  ],
  [
    "a good one that names something twice, once with an escape, deep inside",
    (kit) => signText(`{"sub":"alice",${rest(kit)},"x":[1,{"role":"a","r\\u006fle":"b"}]}`),
    /a name twice/,
  ],
  ["an unsigned one", () => unsigned(), /none is not allowed/],
  [
    "one with a critical header nobody knows",
    (kit) => critical(good(kit)),
    /cannot be verified|cannot be read/,
  ],
] as [string, (kit: PluginKit) => Promise<string> | string, RegExp][]) {
  test(`refuses ${what}`, async (t) => {
    const kit = await kitOf(t, {
      issuer,
      audience: "api",
      keys: [rsa.publicJwk, ec.publicJwk],
      algorithms: ["RS256"],
    });
    const answer = await kit.request(bearer(await make(kit)));
    assert.equal(answer.status, 401);
    assert.equal(answer.problem?.["code"], "unauthenticated");
    assert.match(String(answer.problem?.["detail"]), reason);
    assert.match(
      answer.headers["www-authenticate"]!,
      /^Bearer realm="weft", error="invalid_token"/,
    );
    assert.equal(answer.seen, null);
  });
}

const rest = (kit: PluginKit): string =>
  JSON.stringify(good(kit)).slice(1, -1).replace('"sub":"alice",', "");

/** Signed as it stands: libraries write each name once. */
function signText(claims: string): Promise<string> {
  return new CompactSign(Buffer.from(claims))
    .setProtectedHeader({ alg: "RS256", kid: "rsa" })
    .sign(rsa.privateKey);
}

function unsigned(): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "none" })}.${part({ sub: "alice" })}.`;
}

function withHeader(header: string): string {
  const part = (text: string): string => Buffer.from(text).toString("base64url");
  return `${part(header)}.${part('{"sub":"alice"}')}.${part("x".repeat(256))}`;
}

test("a token with a wrong signature is not verified twice", async (t) => {
  const kit = await kitOf(t, { keys: [rsa.publicJwk] });
  const forged = await signToken(await createIssuerKey("rsa"), good(kit));
  const first = await kit.request(bearer(forged));
  assert.deepEqual([first.status, first.wasSync], [401, false]);
  const second = await kit.request(bearer(forged));
  assert.deepEqual([second.status, second.wasSync], [401, true]);
  kit.nowMs += 10_001;
  assert.equal((await kit.request(bearer(forged))).wasSync, false);
});

function critical(claims: JWTPayload): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: "RS256", kid: "rsa", crit: ["x"], x: 1 } as never)
    .sign(rsa.privateKey, { crit: { x: true } });
}

test("a public key is never used as a secret", async (t) => {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
  const kit = await kitOf(t, { keys: [pem], algorithms: ["RS256", "HS256"] });
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256" })}.${part({ sub: "alice" })}`;
  const forged = `${text}.${createHmac("sha256", pem).update(text).digest("base64url")}`;
  assert.equal((await kit.request(bearer(forged))).status, 401);
});

test("keys are PEM texts, PEM files, JWKs, key set files and secrets", async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
  await writeFile(path.join(folder, "key.pem"), pem);
  await writeFile(
    path.join(folder, "set.json"),
    JSON.stringify({ keys: [ed.publicJwk, { kty: "x" }] }),
  );
  const byPem = (kit: PluginKit): Promise<string> =>
    new SignJWT(good(kit)).setProtectedHeader({ alg: "ES256" }).sign(privateKey);
  const secret = "a secret of more than thirty-two bytes";
  for (const [options, make] of [
    [{ keys: [pem] }, byPem],
    [{ keys: ["key.pem"] }, byPem],
    [{ keys: [ec.publicJwk, pem] }, byPem],
    [{ jwks: "set.json" }, (kit) => signToken(ed, good(kit))],
    [
      { keys: [{ secret }] },
      (kit) =>
        new SignJWT(good(kit)).setProtectedHeader({ alg: "HS256" }).sign(Buffer.from(secret)),
    ],
  ] as [object, (kit: PluginKit) => Promise<string>][]) {
    const kit = await kitOf(t, options, { baseDir: folder });
    assert.equal((await kit.request(bearer(await make(kit)))).status, 200, JSON.stringify(options));
  }
});

test("a key that cannot be read is refused when the configuration loads", async () => {
  for (const [options, reason] of [
    [{ keys: ["missing.pem"] }, /keys\[0\].*missing\.pem/],
    [{ keys: ["-----BEGIN PUBLIC KEY-----\nxx\n-----END PUBLIC KEY-----"] }, /keys\[0\]/],
    [{ keys: [{ kty: "RSA" }] }, /not a JSON Web Key/],
    [{ jwks: "missing.json" }, /missing\.json/],
  ] as const) {
    await assert.rejects(createKit([{ use: "jwt", options }], { baseDir: folder }), reason);
  }
  for (const options of [
    {},
    { keys: [] },
    { issuer, algorithms: ["none"] },
    { issuer, scope: [] },
  ]) {
    await assert.rejects(createKit([{ use: "jwt", options }]), { part: "options" });
  }
});

test("a scope that is missing is 403 and says which are needed", async (t) => {
  const kit = await kitOf(t, { keys: [rsa.publicJwk], scopes: ["orders:read", "orders:write"] });
  const answer = await kit.request(
    bearer(await signToken(rsa, good(kit, { scope: "orders:read" }))),
  );
  assert.equal(answer.status, 403);
  assert.equal(answer.problem?.["code"], "forbidden");
  assert.equal(
    answer.headers["www-authenticate"],
    'Bearer realm="weft", error="insufficient_scope", scope="orders:read orders:write"',
  );
  for (const claims of [
    { scope: "orders:write x orders:read" },
    { scp: ["orders:read", "orders:write"] },
  ]) {
    const token = await signToken(rsa, good(kit, claims));
    assert.equal((await kit.request(bearer(token))).status, 200);
  }
});

test("a required claim must have the value, one of the values, or hold it", async (t) => {
  const kit = await kitOf(t, {
    keys: [rsa.publicJwk],
    require: { tenant: ["a", "b"], "realm.roles": "admin", verified: true },
  });
  const fits = { tenant: "b", realm: { roles: ["user", "admin"] }, verified: true };
  assert.equal((await kit.request(bearer(await signToken(rsa, good(kit, fits))))).status, 200);
  for (const change of [
    { tenant: "c" },
    { realm: { roles: [] } },
    { verified: "true" },
    { tenant: undefined },
  ]) {
    const token = await signToken(rsa, good(kit, { ...fits, ...change }));
    assert.equal((await kit.request(bearer(token))).status, 403, JSON.stringify(change));
  }
});

test("claims are forwarded, and what a caller says in their place is dropped", async (t) => {
  const kit = await kitOf(t, {
    keys: [rsa.publicJwk],
    optional: true,
    forward: { sub: "x-user", groups: "x-groups", absent: "x-absent" },
  });
  const claims = good(kit, { sub: "zoë", groups: ["a", "b"] });
  const forged = { "x-user": "root", "x-absent": "root" };
  const token = await signToken(rsa, claims);
  const answer = await kit.request({ headers: { ...forged, ...bearer(token).headers } });
  assert.equal(answer.seen?.headers["x-user"], "zoë");
  assert.equal(answer.seen?.headers["x-groups"], "a,b");
  assert.equal(answer.seen?.headers["x-absent"], undefined);
  const without = await kit.request({ headers: forged });
  assert.equal(without.status, 200);
  assert.equal(without.seen?.headers["x-user"], undefined);
});

test("a claim that cannot stand in a header is encoded, never an error", async (t) => {
  const kit = await kitOf(t, { keys: [rsa.publicJwk], forward: { name: "x-name" } });
  const token = await signToken(rsa, good(kit, { sub: "a\r\nx-admin: 1", name: "日本" }));
  const answer = await kit.request(bearer(token));
  assert.equal(answer.status, 200);
  assert.equal(answer.seen?.headers["x-weft-consumer"], "a%0D%0Ax-admin%3A%201");
  assert.equal(answer.seen?.headers["x-name"], "%E6%97%A5%E6%9C%AC");
});

test("the consumer is the claim, with its plan and groups when it is listed", async (t) => {
  const kit = await kitOf(
    t,
    { keys: [rsa.publicJwk], consumerClaim: "client_id" },
    { consumers: [{ name: "acme", keys: [], plan: "gold", groups: ["partners"] }] },
  );
  const token = await signToken(rsa, good(kit, { client_id: "acme" }));
  const { consumer } = (await kit.request(bearer(token))).ctx;
  assert.deepEqual(consumer, { name: "acme", plan: "gold", groups: ["partners"] });
  const nobody = await kit.request(bearer(await signToken(rsa, good(kit, { client_id: 7 }))));
  assert.equal(nobody.status, 200);
  assert.equal(nobody.seen?.headers["x-weft-consumer"], undefined);
});

test("a token may come in a cookie or in a header of its own", async (t) => {
  const kit = await kitOf(t, { keys: [rsa.publicJwk], header: "x-token", cookie: "session" });
  const token = await signToken(rsa, good(kit));
  for (const headers of [
    { "x-token": token },
    { "x-token": `Bearer ${token}` },
    { cookie: `a=b; session=${token}` },
  ]) {
    assert.equal((await kit.request({ headers })).status, 200);
  }
});

test("optional lets a caller without a token through, never one with a bad token", async (t) => {
  const kit = await kitOf(t, { keys: [rsa.publicJwk], optional: true });
  assert.equal((await kit.request()).status, 200);
  assert.equal((await kit.request(bearer("a.b.c"))).status, 401);
});
