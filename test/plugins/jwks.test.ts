import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { KeyServer, createIssuerKey, signToken } from "../support/key-server.ts";
import type { IssuerKey } from "../support/key-server.ts";
import { createKit } from "../support/plugin-kit.ts";
import type { PluginKit } from "../support/plugin-kit.ts";

const keys: IssuerKey[] = await Promise.all([createIssuerKey("one"), createIssuerKey("two")]);
const [one, two] = keys as [IssuerKey, IssuerKey];
let server: KeyServer;
const kits: PluginKit[] = [];

beforeEach(async () => {
  server = new KeyServer();
  server.keys = [one];
  await server.listen();
});
afterEach(async () => {
  await Promise.all(kits.splice(0).map((kit) => kit.close()));
  await server.close();
});

async function kitOf(options: object): Promise<PluginKit> {
  const kit = await createKit([{ use: "jwt", options }]);
  kits.push(kit);
  return kit;
}

const ask = async (kit: PluginKit, key: IssuerKey) => {
  const token = await signToken(key, { iss: server.issuer, sub: "a", jti: String(Math.random()) });
  return kit.request({ headers: { authorization: `Bearer ${token}` } });
};

test("keys come from the issuer's metadata", async () => {
  const kit = await kitOf({ issuer: server.issuer });
  assert.equal((await ask(kit, one)).status, 200);
  assert.equal((await ask(kit, one)).status, 200);
  assert.equal(server.fetches, 1);
});

test("an issuer whose metadata names another is not believed", async () => {
  const kit = await kitOf({ issuer: `${server.issuer}/` });
  assert.equal((await ask(kit, one)).status, 503);
  assert.equal(server.fetches, 0);
});

test("a rotated key is found at its first token", async () => {
  const kit = await kitOf({ jwks: server.jwks });
  assert.equal((await ask(kit, one)).status, 200);
  server.keys = [one, two];
  kit.nowMs += 1001;
  assert.equal((await ask(kit, two)).status, 200);
  assert.equal(server.fetches, 2);
});

test("a token that was good is forgotten when its key is withdrawn", async () => {
  const kit = await kitOf({ jwks: server.jwks });
  const token = await signToken(one, { sub: "a" });
  const request = { headers: { authorization: `Bearer ${token}` } };
  assert.equal((await kit.request(request)).status, 200);
  server.keys = [two];
  kit.nowMs += 1001;
  await ask(kit, two);
  assert.equal((await kit.request(request)).status, 401);
});

test("unknown keys are looked up at most once a second, however many tokens name them", async () => {
  const kit = await kitOf({ jwks: server.jwks });
  await ask(kit, one);
  for (let i = 0; i < 20; i++) assert.equal((await ask(kit, two)).status, 401);
  assert.equal(server.fetches, 1);
  kit.nowMs += 1001;
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(kit, two)));
  assert(answers.every(({ status }) => status === 401));
  assert.equal(server.fetches, 2);
});

test("the last good keys serve on while the source is away", async () => {
  const kit = await kitOf({ jwks: server.jwks });
  assert.equal((await ask(kit, one)).status, 200);
  server.respond = (response) => response.writeHead(500).end();
  kit.nowMs += 700_000;
  assert.equal((await ask(kit, one)).status, 200);
  await eventually("a fetch in the background", () => server.fetches === 2);
  assert.equal((await ask(kit, one)).status, 200);
});

for (const [what, respond] of Object.entries({
  "answers with an error": (response: import("node:http").ServerResponse) =>
    response.writeHead(500).end(),
  "answers with something else": (response: import("node:http").ServerResponse) =>
    response.end("<html>"),
  "sends too much": (response: import("node:http").ServerResponse) =>
    response.end(`{"keys":[],"x":"${"x".repeat(600_000)}"}`),
  "cuts the answer": (response: import("node:http").ServerResponse) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("{");
    setImmediate(() => response.destroy());
  },
})) {
  test(`a source that ${what} is auth-unavailable, and found again when it is back`, async () => {
    server.respond = (response) => void respond(response);
    const kit = await kitOf({ jwks: server.jwks });
    const answer = await ask(kit, one);
    assert.equal(answer.status, 503);
    assert.equal(answer.problem?.["code"], "auth-unavailable");
    assert.equal(answer.headers["retry-after"], "1");
    server.respond = null;
    kit.nowMs += 1001;
    assert.equal((await ask(kit, one)).status, 200);
  });
}

test("a source that hangs costs a request half a second, not more", async (t) => {
  server.respond = () => {};
  const kit = await kitOf({ jwks: server.jwks });
  await eventually("the first fetch", () => server.fetches === 1);
  const token = await signToken(one, { sub: "a" });
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const asked = kit.request({ headers: { authorization: `Bearer ${token}` } });
  // the look-up starts when the header has been read, which takes no turn of the loop
  t.mock.timers.tick(500);
  assert.equal((await asked).status, 503);
});

test("a secret in a key set that anyone can fetch is not used", async () => {
  const k = Buffer.from("public knowledge, thirty-two bytes").toString("base64url");
  server.respond = (response) =>
    void response.end(JSON.stringify({ keys: [{ kty: "oct", kid: "s", k }, one.publicJwk] }));
  const kit = await kitOf({ jwks: server.jwks, algorithms: ["HS256", "RS256"] });
  const { SignJWT } = await import("jose");
  const token = await new SignJWT({ sub: "root" })
    .setProtectedHeader({ alg: "HS256", kid: "s" })
    .sign(Buffer.from(k, "base64url"));
  const answer = await kit.request({ headers: { authorization: `Bearer ${token}` } });
  assert.equal(answer.status, 401);
});

test("routes and reloads share one key set", async () => {
  const first = await kitOf({ jwks: server.jwks });
  const second = await kitOf({ jwks: server.jwks, scopes: [], audience: "x" });
  await ask(first, one);
  await ask(second, one);
  assert.equal(server.fetches, 1);
});

test("with several issuers each one's keys verify its own tokens, and no other's", async (t) => {
  const second = new KeyServer();
  second.keys = [two];
  await second.listen();
  t.after(() => second.close());
  const kit = await kitOf({ issuer: [server.issuer, second.issuer] });
  const status = async (key: IssuerKey, iss: string): Promise<number> => {
    const token = await signToken(key, { iss, sub: "a" });
    return (await kit.request({ headers: { authorization: `Bearer ${token}` } })).status;
  };
  assert.equal(await status(one, server.issuer), 200);
  assert.equal(await status(two, second.issuer), 200);
  assert.equal(await status(two, server.issuer), 401);
  assert.equal(await status(one, second.issuer), 401);
  assert.equal(await status(one, "https://other.example"), 401);
});
