/** Who is let in, by a real gateway: passwords, certificates, signatures, an authorization service, expressions. */

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, scryptSync, sign } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { signed, testAuthority } from "../support/certificates.ts";
import type { Pair } from "../support/certificates.ts";
import { Gateway } from "../support/gateway.ts";
import { KeyServer, createIssuerKey, signToken } from "../support/key-server.ts";

const pair = generateKeyPairSync("ed25519");
const publicPem = pair.publicKey.export({ type: "spki", format: "pem" }).toString();
const salt = Buffer.from("sixteen bytes it");
const scrypted = `$scrypt$ln=10,r=8,p=1$${salt.toString("base64")}$${scryptSync("wonderland", salt, 32, { N: 1024, r: 8, p: 1 }).toString("base64")}`;
const key = await createIssuerKey("one");

let origin: http.Server;
let authz: http.Server;
let issuer: KeyServer;
let gateway: Gateway;
let alice: Pair;
let mallory: Pair;
const asked: http.IncomingHttpHeaders[] = [];

async function listen(server: http.Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

before(async () => {
  const authority = await testAuthority();
  const server = await signed(authority, { dns: ["localhost"] });
  [alice, mallory] = await Promise.all([
    signed(authority, { commonName: "alice" }),
    signed(authority, { commonName: "mallory" }),
  ]);
  issuer = new KeyServer();
  issuer.keys = [key];
  await issuer.listen();
  origin = http.createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    res.setHeader("content-type", "application/json");
    res.end(JSON.stringify({ headers: req.headers, body: Buffer.concat(chunks).toString() }));
  });
  authz = http.createServer((req, res) => {
    asked.push(req.headers);
    const isIn = req.headers.authorization === "Bearer good";
    res.writeHead(isIn ? 200 : 401, isIn ? { "x-user": "carol" } : {}).end();
  });
  const [up, decide] = await Promise.all([listen(origin), listen(authz)]);
  gateway = await Gateway.start({
    ports: 2,
    files: {
      "server.crt": server.cert,
      "server.key": server.key,
      "clients.crt": authority.cert,
      "public.pem": publicPem,
    },
    config: ({ port, admin }) => `
gateway:
  listeners:
    - { name: web, host: 127.0.0.1, port: ${port[0]} }
    - name: secure
      host: 127.0.0.1
      port: ${port[1]}
      tls: { certificates: [{ cert: server.crt, key: server.key }], clientAuth: { ca: clients.crt, mode: optional } }
services: { up: { endpoints: ["127.0.0.1:${up}"] } }
consumers:
  - { name: alice, keys: [${JSON.stringify(scrypted)}], groups: [staff] }
  - { name: partner, keys: [${JSON.stringify(publicPem)}] }
routes:
  - { name: basic, match: { path: /basic }, to: up, plugins: [basic-auth, { acl: { allow: [staff] } }] }
  - { name: mtls, match: { path: /mtls }, to: up, plugins: [mtls] }
  - { name: signed, match: { path: /signed }, to: up, plugins: [http-signature] }
  - { name: asked, match: { path: /asked }, to: up, plugins: [{ ext-authz: { url: "http://127.0.0.1:${decide}/", timeout: 20s, takeHeaders: [x-user] } }] }
  - { name: lost, match: { path: /lost }, to: up, plugins: [{ ext-authz: { url: "http://127.0.0.1:1/" } }] }
  - { name: cel, match: { path: /cel }, to: up, plugins: [{ jwt: { issuer: "${issuer.issuer}" } }, { cel: { allow: "claims.role == 'admin' && request.method == 'GET'" } }] }
  - { name: form, match: { path: /form }, to: up, plugins: [csrf, bot, security-headers] }
admin: { address: "127.0.0.1:${admin}" }
workers: 2
`,
  });
});
after(async () => {
  await gateway?.stop();
  for (const server of [origin, authz]) {
    server?.closeAllConnections();
    server?.close();
  }
  await issuer?.close();
});

interface Seen {
  readonly headers: Record<string, string>;
  readonly body: string;
}
const ask = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`http://127.0.0.1:${gateway.port}${path}`, init);
const codeOf = async (answer: Response): Promise<unknown> =>
  ((await answer.json()) as { code: unknown }).code;

test("a password behind a slow hash lets its consumer in, with its groups", async () => {
  const basic = (text: string) => ({
    authorization: `Basic ${Buffer.from(text).toString("base64")}`,
  });
  for (let i = 0; i < 8; i++) {
    const headers = { ...basic("alice:wonderland"), "x-weft-consumer": "root" };
    const answer = await ask("/basic", { headers });
    assert.equal(answer.status, 200);
    const seen = (await answer.json()) as Seen;
    assert.equal(seen.headers["x-weft-consumer"], "alice");
    assert.equal(seen.headers["authorization"], undefined);
  }
  for (const text of ["alice:wrong", "partner:wonderland", "bob:wonderland"]) {
    const answer = await ask("/basic", { headers: basic(text) });
    assert.equal(answer.status, 401);
    assert.match(answer.headers.get("www-authenticate")!, /^Basic realm="weft"/);
    assert.equal(await codeOf(answer), "unauthenticated");
  }
});

function askTls(path: string, client: Pair | null): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const options = { port: gateway.ports[1], host: "127.0.0.1", path, rejectUnauthorized: false };
    const call = https.get({ ...options, agent: false, ...client }, async (answer) => {
      let body = "";
      for await (const chunk of answer.setEncoding("utf8")) body += chunk as string;
      resolve({ status: answer.statusCode!, body });
    });
    call.on("error", reject);
  });
}

test("a client certificate stands for the consumer that it names", async () => {
  const known = await askTls("/mtls", alice);
  assert.equal(known.status, 200);
  assert.equal((JSON.parse(known.body) as Seen).headers["x-weft-consumer"], "alice");
  assert.equal((await askTls("/mtls", mallory)).status, 401);
  assert.equal((await askTls("/mtls", null)).status, 401);
  assert.equal((await ask("/mtls")).status, 401);
});

test("a signed request passes with the body that was signed, and only once around the block", async () => {
  const body = JSON.stringify({ amount: 7, text: "x".repeat(200_000) });
  const digest = `sha-256=:${createHash("sha256").update(body).digest("base64")}:`;
  const created = Math.floor(Date.now() / 1000);
  const input = `("@method" "@target-uri" "content-digest");created=${created};keyid="partner"`;
  const url = `http://127.0.0.1:${gateway.port}/signed/orders?x=%2F`;
  const base = `"@method": POST\n"@target-uri": ${url}\n"content-digest": ${digest}\n"@signature-params": ${input}`;
  const signature = sign(null, Buffer.from(base), pair.privateKey).toString("base64");
  const headers = {
    "content-digest": digest,
    "signature-input": `sig1=${input}`,
    signature: `sig1=:${signature}:`,
  };
  const answer = await fetch(url, { method: "POST", headers, body });
  assert.equal(answer.status, 200);
  const seen = (await answer.json()) as Seen;
  assert.equal(seen.body, body);
  assert.equal(seen.headers["x-weft-consumer"], "partner");
  const changed = await fetch(url, { method: "POST", headers, body: body.replace("7", "8") });
  assert.equal(changed.status, 401);
  const elsewhere = await ask("/signed/refunds", { method: "POST", headers, body });
  assert.equal(elsewhere.status, 401);
  assert.equal(await codeOf(elsewhere), "unauthenticated");
});

test("an authorization service decides, and its absence is auth-unavailable", async () => {
  const good = { authorization: "Bearer good", "x-user": "root" };
  const answer = await ask("/asked/a?b=1", { method: "PUT", body: "body", headers: good });
  assert.equal(answer.status, 200);
  const seen = (await answer.json()) as Seen;
  assert.deepEqual([seen.headers["x-user"], seen.body], ["carol", "body"]);
  assert.equal(asked.at(-1)!["x-forwarded-method"], "PUT");
  assert.equal(asked.at(-1)!["x-forwarded-uri"], "/asked/a?b=1");
  const refused = await ask("/asked");
  assert.equal(refused.status, 401);
  assert.equal(await codeOf(refused), "unauthenticated");
  const lost = await ask("/lost");
  assert.equal(lost.status, 503);
  assert.notEqual(lost.headers.get("retry-after"), null);
  assert.equal(await codeOf(lost), "auth-unavailable");
});

test("an expression over claims and the request decides", async () => {
  const bearer = async (role: string) => {
    const exp = Math.floor(Date.now() / 1000) + 300;
    const token = await signToken(key, { iss: issuer.issuer, sub: "a", role, exp });
    return { authorization: `Bearer ${token}` };
  };
  const admin = await bearer("admin");
  assert.equal((await ask("/cel", { headers: admin })).status, 200);
  const posted = await ask("/cel", { method: "POST", headers: admin });
  assert.equal(posted.status, 403);
  assert.equal(await codeOf(posted), "forbidden");
  assert.equal((await ask("/cel", { headers: await bearer("user") })).status, 403);
  assert.equal((await ask("/cel")).status, 401);
});

test("a page of another site, and a scanner, are kept out; answers protect visitors", async () => {
  const own = { origin: `http://127.0.0.1:${gateway.port}` };
  const answer = await ask("/form", { method: "POST", headers: own });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  const foreign = await ask("/form", {
    method: "POST",
    headers: { origin: "https://evil.example" },
  });
  assert.equal(foreign.status, 403);
  assert.equal(foreign.headers.get("x-frame-options"), "SAMEORIGIN", "refusals have them too");
  assert.equal((await ask("/form", { headers: { "user-agent": "sqlmap/1" } })).status, 403);
});
