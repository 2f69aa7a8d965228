/** Credentials made to harm, shown to a real gateway: each is refused in the catalogue's words, and costs its issuer nothing. */

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { CompactSign, exportSPKI, importJWK } from "jose";
import { Gateway } from "../support/gateway.ts";
import { KeyServer, createIssuerKey, signToken } from "../support/key-server.ts";
import { answering, ok, Origin } from "../support/origin.ts";

const key = await createIssuerKey("one");
const strange = await createIssuerKey("strange");
const pem = await exportSPKI((await importJWK(key.publicJwk, "RS256")) as never);
const exp = Math.floor(Date.now() / 1000) + 3600;

let issuer: KeyServer;
let elsewhere: http.Server;
let origin: Origin;
let gateway: Gateway;

before(async () => {
  issuer = new KeyServer();
  issuer.keys = [key];
  await issuer.listen();
  // a key set that leads around in a circle
  elsewhere = http.createServer((_req, res) => res.writeHead(302, { location: "/again" }).end());
  elsewhere.listen(0, "127.0.0.1");
  await once(elsewhere, "listening");
  origin = await Origin.start(answering(() => ok("fine")));
  const { port: loop } = elsewhere.address() as AddressInfo;
  const hash = createHash("sha256").update("right").digest("hex");
  gateway = await Gateway.start({
    ports: 2,
    config: ({ port, admin }) => `
gateway:
  listeners:
    - { name: web, host: 127.0.0.1, port: ${port[0]} }
  limits: { headerBytes: 160KiB }
services: { app: { endpoints: ["${origin.address}"] } }
consumers: [{ name: alice, keys: ["sha256:${hash}"] }]
routes:
  - { match: { path: /jwt }, to: app, plugins: [{ jwt: { jwks: "${issuer.jwks}", algorithms: [RS256, HS256] } }] }
  - { match: { path: /loop }, to: app, plugins: [{ jwt: { jwks: "http://127.0.0.1:${loop}/jwks" } }] }
  - { match: { path: /key }, to: app, plugins: [{ api-key: { header: x-api-key, query: key, cookie: key } }] }
  - { match: { path: /basic }, to: app, plugins: [basic-auth] }
  - { match: { path: /signed }, to: app, plugins: [http-signature] }
  - { match: { path: /mtls }, to: app, plugins: [mtls] }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await origin?.close();
  await issuer?.close();
  elsewhere?.close();
});

async function ask(path: string, ...fields: string[]) {
  using client = await gateway.connect();
  const lines = fields.map((line) => `${line}\r\n`).join("");
  await client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n${lines}\r\n`);
  return await client.response();
}

const part = (value: unknown): string =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
const sign = (claims: string): Promise<string> =>
  new CompactSign(Buffer.from(claims))
    .setProtectedHeader({ alg: "RS256", kid: "one" })
    .sign(key.privateKey);

/** Signed by HMAC with a text that everybody knows. */
function confused(secret: string): string {
  const text = `${part({ alg: "HS256", kid: "one" })}.${part({ sub: "root", exp })}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

const tokens: Readonly<Record<string, () => string | Promise<string>>> = {
  "is garbage": () => "%%%.\u00ff\u00fe.===",
  "is three dots": () => "...",
  "is one dot": () => ".",
  "has five parts": () => "a.b.c.d.e",
  "has a header that is a number": () => `${part("7")}.${part({})}.x`,
  "has a header nested a thousand deep": () =>
    `${part(`{"alg":"RS256","x":${"[".repeat(1000)}${"]".repeat(1000)}}`)}.${part({})}.x`,
  "has 64 KiB": () => `${part({ alg: "RS256" })}.${"x".repeat(65_536)}.x`,
  "is unsigned": () => `${part({ alg: "none" })}.${part({ sub: "root" })}.`,
  "is unsigned, written otherwise": () => `${part({ alg: "nOnE" })}.${part({ sub: "root" })}.`,
  "is signed with the public key as a secret": () => confused(pem),
  "is signed with the key set as a secret": () => confused(JSON.stringify(key.publicJwk)),
  "is signed with nothing": () => confused(""),
  "says its subject twice": () => sign(`{"sub":"alice","sub":"root","exp":${exp}}`),
  "has claims that are a list": () => sign("[]"),
  "ends in the year 1970": () => sign('{"sub":"alice","exp":1}'),
  "ends at a text": () => sign('{"sub":"alice","exp":"never"}'),
  "has a path as its key": () =>
    signToken(strange, { sub: "root", exp }, { kid: "../../../../dev/null" }),
  "has a URL as its key": () =>
    signToken(strange, { sub: "root", exp }, { kid: "http://127.0.0.1:1/x" }),
  "has a statement as its key": () =>
    signToken(strange, { sub: "root", exp }, { kid: "x' UNION SELECT 'secret' --" }),
  "has NUL in its key": () => signToken(strange, { sub: "root", exp }, { kid: "one\0" }),
  "has __proto__ as its key": () => signToken(strange, { sub: "root", exp }, { kid: "__proto__" }),
  "brings its own key": () =>
    signToken(strange, { sub: "root", exp }, { kid: "one", jwk: strange.publicJwk }),
  "names its own key set": () =>
    signToken(strange, { sub: "root", exp }, { kid: "x", jku: `${issuer.issuer}/evil` }),
};

test("a good token passes", async () => {
  const token = await signToken(key, { sub: "alice", exp });
  assert.equal((await ask("/jwt", `Authorization: Bearer ${token}`)).status, 200);
});

for (const [what, make] of Object.entries(tokens)) {
  test(`a token that ${what} is 401 unauthenticated`, async () => {
    const before = origin.text;
    const answer = await ask("/jwt", `Authorization: Bearer ${await make()}`);
    assert.equal(answer.status, 401);
    assert.equal(answer.code, "unauthenticated");
    assert.match(answer.header("www-authenticate") ?? "", /^Bearer realm="weft"/);
    assert.match(answer.header("proxy-status") ?? "", /^weft; error=/);
    assert.doesNotMatch(answer.body, /root|secret|BEGIN/);
    assert.equal(origin.text, before);
  });
}

test("a thousand unknown keys make a handful of look-ups", async () => {
  const { fetches } = issuer;
  const startMs = performance.now();
  for (let i = 0; i < 1000; i += 50) {
    const asked = Array.from({ length: 50 }, (_, j) => {
      const token = `${part({ alg: "RS256", kid: `k${i + j}` })}.${part({ sub: "x" })}.${part("x".repeat(256))}`;
      return ask("/jwt", `Authorization: Bearer ${token}`);
    });
    for (const { status } of await Promise.all(asked)) assert.equal(status, 401);
  }
  const seconds = (performance.now() - startMs) / 1000;
  assert.ok(issuer.fetches - fetches <= 1 + Math.ceil(seconds), `${issuer.fetches - fetches}`);
});

test("a key set that leads around in a circle is auth-unavailable", async () => {
  const token = await signToken(key, { sub: "alice", exp });
  const answer = await ask("/loop", `Authorization: Bearer ${token}`);
  assert.deepEqual([answer.status, answer.code], [503, "auth-unavailable"]);
  assert.match(answer.header("retry-after") ?? "", /^\d+$/);
});

for (const [path, fields] of [
  ["/key", [`x-api-key: ${"k".repeat(65_536)}`]],
  ["/key", ["x-api-key: right, right"]],
  ["/key", ["x-api-key: wrong", "x-api-key: right"]],
  ["/key?key=%00right", []],
  ["/key?key=wrong&key=right", []],
  ["/key", ["Cookie: key=wrong; key=right"]],
  ["/key", ["x-api-key: sha256:abc"]],
  ["/basic", ["Authorization: Basic"]],
  ["/basic", ["Authorization: Basic !!!"]],
  ["/basic", [`Authorization: Basic ${Buffer.from("alice").toString("base64")}`]],
  ["/basic", [`Authorization: Basic ${Buffer.from("alice:\0right").toString("base64")}`]],
  ["/basic", [`Authorization: Basic ${Buffer.from("__proto__:right").toString("base64")}`]],
  ["/basic", [`Authorization: Basic ${"A".repeat(65_536)}`]],
  ["/signed", ["Signature-Input: x", "Signature: x"]],
  ["/signed", ['Signature-Input: s=("@method");keyid="alice"', "Signature: s=:AAAA:"]],
  ["/signed", [`Signature-Input: ${"s".repeat(65_536)}`, "Signature: s=:AAAA:"]],
  ["/mtls", []],
] as const) {
  const shown = fields.map((field) => field.slice(0, 60)).join(" | ");
  test(`GET ${path} with ${shown === "" ? "nothing" : shown} is 401 unauthenticated`, async () => {
    const answer = await ask(path, ...fields);
    assert.deepEqual([answer.status, answer.code], [401, "unauthenticated"]);
    assert.match(answer.header("www-authenticate") ?? "", /\S/);
  });
}

test("gRPC callers and browsers read the same refusal in their own way", async () => {
  const token = `Authorization: Bearer ${confused(pem)}`;
  const grpc = await ask("/jwt", token, "Content-Type: application/grpc", "TE: trailers");
  assert.deepEqual([grpc.status, grpc.header("grpc-status")], [200, "16"]);
  const page = await ask("/jwt", token, "Accept: text/html");
  assert.equal(page.status, 401);
  assert.match(page.header("content-type") ?? "", /^text\/html/);
});
