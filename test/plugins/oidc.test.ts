import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { eventually } from "../support/eventually.ts";
import { IdentityProvider, clientId, clientSecret, logIn } from "../support/identity-provider.ts";
import { createKit } from "../support/plugin-kit.ts";
import type { KitAnswer, KitOptions, KitRequest, PluginKit } from "../support/plugin-kit.ts";
import type { Configuration } from "oidc-provider";

const home = "http://example.com";
const redirectUri = `${home}/oauth2/callback`;
const secret = "a secret for sessions, long enough";

async function provide(t: TestContext, more: Configuration = {}): Promise<IdentityProvider> {
  const idp = new IdentityProvider();
  await idp.listen();
  idp.open([redirectUri, "https://example.com/oauth2/callback"], more);
  t.after(() => idp.close());
  return idp;
}

async function kitOf(
  t: TestContext,
  idp: { issuer: string },
  options: object = {},
  more: KitOptions = {},
) {
  const kit = await createKit(
    [
      {
        use: "oidc",
        options: { issuer: idp.issuer, clientId, clientSecret, secret, ...options },
      },
    ],
    { consumers: [{ name: "alice", keys: [], plan: "gold", groups: ["staff"] }], ...more },
  );
  kit.wallMs = Date.now();
  t.after(() => kit.close());
  return kit;
}

/** A browser as far as cookies go. */
class Visitor {
  readonly jar = new Map<string, string>();
  private readonly kit: PluginKit;
  constructor(kit: PluginKit) {
    this.kit = kit;
  }
  async ask(path: string, request: KitRequest = {}): Promise<KitAnswer> {
    const cookie = [...this.jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const headers: Record<string, string> = { accept: "text/html,*/*", ...request.headers };
    if (cookie !== "") headers["cookie"] = cookie;
    const answer = await this.kit.request({ ...request, path, headers });
    for (const line of setCookies(answer)) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!;
      if (/Max-Age=0/.test(line)) this.jar.delete(name!);
      else this.jar.set(name!, value!);
    }
    return answer;
  }
  async logIn(path = "/", user = "alice"): Promise<KitAnswer> {
    const begun = await this.ask(path);
    assert.equal(begun.status, 302);
    const back = new URL(await logIn(begun.headers["location"]!, user));
    return this.ask(back.pathname + back.search);
  }
}

function setCookies(answer: KitAnswer): string[] {
  return (answer.headers["set-cookie"] ?? "").split(/, (?=[\w.-]+=)/).filter((one) => one !== "");
}

test("a browser logs in, comes back to where it was, and is known from then on", async (t) => {
  const idp = await provide(t);
  const kit = await kitOf(t, idp, {
    scopes: ["openid", "email"],
    forward: { sub: "x-user", email: "x-email" },
  });
  const visitor = new Visitor(kit);
  const begun = await visitor.ask("/orders?x=1");
  assert.equal(begun.status, 302);
  assert.equal(begun.seen, null);
  const to = new URL(begun.headers["location"]!);
  assert.equal(to.origin, idp.issuer);
  assert.equal(to.searchParams.get("code_challenge_method"), "S256");
  assert.equal(to.searchParams.get("redirect_uri"), redirectUri);
  assert.equal(to.searchParams.get("scope"), "openid email");
  assert.match(
    setCookies(begun)[0]!,
    /Path=\/oauth2\/callback; Max-Age=600; HttpOnly; SameSite=Lax$/,
  );
  const back = new URL(await logIn(to.href, "alice"));
  const done = await visitor.ask(back.pathname + back.search);
  assert.equal(done.status, 302, done.body.toString());
  assert.equal(done.headers["location"], `${home}/orders?x=1`);
  assert.deepEqual([...visitor.jar.keys()], ["weft-session"], "the cookie of the login is gone");
  const known = await visitor.ask("/orders", {
    method: "POST",
    headers: { "x-user": "root", cookie: "" },
  });
  assert.equal(known.status, 200);
  assert.equal(known.wasSync, true);
  assert.equal(known.seen?.headers["x-user"], "alice");
  assert.equal(known.seen?.headers["x-email"], "alice@example.com");
  assert.equal(known.seen?.headers["x-weft-consumer"], "alice");
  assert.equal(known.seen?.headers["cookie"], undefined, "the service does not see the session");
  assert.equal(known.ctx.consumer?.plan, "gold");
});

test("only a GET that takes HTML is redirected; others are 401", async (t) => {
  const kit = await kitOf(t, await provide(t));
  for (const request of [
    { headers: { accept: "application/json" } },
    { headers: { accept: "*/*" } },
    {},
    { method: "POST", headers: { accept: "text/html" } },
    { method: "HEAD", headers: { accept: "text/html" } },
  ]) {
    const answer = await kit.request({ path: "/x", ...request } as KitRequest);
    assert.equal(answer.status, 401);
    assert.notEqual(answer.headers["www-authenticate"], undefined);
  }
});

test("a callback that this browser did not begin is 400, whatever it says", async (t) => {
  const idp = await provide(t);
  const kit = await kitOf(t, idp);
  const visitor = new Visitor(kit);
  const begun = await visitor.ask("/");
  const state = new URL(begun.headers["location"]!).searchParams.get("state")!;
  const back = new URL(await logIn(begun.headers["location"]!, "mallory"));
  // a stranger's browser, which has no cookie of this login
  const victim = new Visitor(kit);
  for (const path of [
    back.pathname + back.search,
    "/oauth2/callback",
    "/oauth2/callback?code=a&state=b",
    "/oauth2/callback?error=access_denied&state=b",
  ]) {
    const answer = await victim.ask(path);
    assert.equal(answer.status, 400, path);
    assert.equal(victim.jar.size, 0);
  }
  for (const path of [
    `/oauth2/callback?code=forged&state=${state}&iss=${encodeURIComponent(idp.issuer)}`,
    `/oauth2/callback?code=forged&state=${state}`,
    `/oauth2/callback?state=${state}&iss=${encodeURIComponent(idp.issuer)}`,
    `/oauth2/callback?code=a&state=${state}&iss=https://evil.example`,
    `/oauth2/callback?code=a&code=b&state=${state}&state=x`,
    `/oauth2/callback?code=a&state=${state.slice(0, 12)}${"A".repeat(31)}`,
  ]) {
    const answer = await visitor.ask(path);
    assert.equal(answer.status, 400, path);
    assert.equal(answer.problem?.["code"] ?? "bad-request", "bad-request");
  }
  assert.equal((await visitor.ask("/oauth2/callback", { method: "POST" })).status, 400);
});

test("a code works once, and a login only for ten minutes", async (t) => {
  const idp = await provide(t);
  const kit = await kitOf(t, idp);
  const visitor = new Visitor(kit);
  const begun = await visitor.ask("/");
  const jar = new Map(visitor.jar);
  const back = new URL(await logIn(begun.headers["location"]!, "alice"));
  assert.equal((await visitor.ask(back.pathname + back.search)).status, 302);
  visitor.jar.clear();
  for (const [name, value] of jar) visitor.jar.set(name, value);
  assert.equal((await visitor.ask(back.pathname + back.search)).status, 400);
  const late = new Visitor(kit);
  const slow = await late.ask("/");
  const after = new URL(await logIn(slow.headers["location"]!, "alice"));
  kit.wallMs += 600_001;
  assert.equal((await late.ask(after.pathname + after.search)).status, 400);
});

test("a login cannot lead to another site", async (t) => {
  const kit = await kitOf(t, await provide(t));
  const done = await new Visitor(kit).logIn("//evil.example/x?y=https://evil.example");
  assert.equal(new URL(done.headers["location"]!).origin, home);
  const long = await new Visitor(kit).logIn(`/${"x".repeat(5000)}`);
  assert.equal(long.headers["location"], `${home}/`);
});

test("a visitor whom the provider refuses is 403", async (t) => {
  const idp = await provide(t);
  const kit = await kitOf(t, idp);
  const visitor = new Visitor(kit);
  const begun = await visitor.ask("/");
  const state = new URL(begun.headers["location"]!).searchParams.get("state")!;
  const answer = await visitor.ask(
    `/oauth2/callback?error=access_denied&state=${state}&iss=${encodeURIComponent(idp.issuer)}`,
  );
  assert.equal(answer.status, 403);
  assert.match(answer.body.toString(), /access_denied/);
});

test("cookies that were changed, cut or made with another secret are no session", async (t) => {
  const idp = await provide(t);
  const kit = await kitOf(t, idp);
  const visitor = new Visitor(kit);
  await visitor.logIn();
  const good = visitor.jar.get("weft-session")!;
  const other = new Visitor(await kitOf(t, idp, { secret: "another secret for sessions" }));
  await other.logIn();
  for (const bad of [
    "",
    "1.",
    "1.AAAA",
    "9.AAAA",
    `2.${good.slice(2)}`,
    good.slice(0, -1),
    good.slice(0, 20) + (good[20] === "A" ? "B" : "A") + good.slice(21),
    other.jar.get("weft-session")!,
  ]) {
    const headers = { cookie: `weft-session=${bad}`, accept: "application/json" };
    const answer = await kit.request({ headers });
    assert.equal(answer.status, 401, bad);
  }
  const fine = { cookie: `weft-session=${good}`, accept: "application/json" };
  assert.equal((await kit.request({ headers: fine })).status, 200);
});

test("with a new secret before the old one, sessions go on and are sealed anew", async (t) => {
  const idp = await provide(t);
  const visitor = new Visitor(await kitOf(t, idp));
  await visitor.logIn();
  const old = visitor.jar.get("weft-session")!;
  const kit = await kitOf(t, idp, { secret: ["the new secret for sessions", secret] });
  const headers = { cookie: `weft-session=${old}` };
  const answer = await kit.request({ headers });
  assert.equal(answer.status, 200);
  const cookie = setCookies(answer)[0]!.split(";")[0]!;
  assert.notEqual(cookie, headers.cookie);
  const again = await kit.request({ headers: { cookie } });
  assert.deepEqual([again.status, again.headers["set-cookie"]], [200, undefined]);
});

test("a session that is too large for one cookie is in several, and shrinks again", async (t) => {
  const big = "x".repeat(6000);
  const idp = await provide(t, {
    claims: { openid: ["sub", "big"] },
    findAccount: (_ctx, id) => ({
      accountId: id,
      claims: () => ({ sub: id, ...(id === "alice" ? { big } : {}) }),
    }),
  });
  const kit = await kitOf(t, idp, { forward: { big: "x-big" } });
  const visitor = new Visitor(kit);
  const done = await visitor.logIn();
  assert(visitor.jar.size > 2);
  for (const cookie of setCookies(done)) assert(cookie.length < 4096);
  const answer = await visitor.ask("/");
  assert.equal(answer.seen?.headers["x-big"], big);
  assert.equal(answer.seen?.headers["cookie"], undefined);
  visitor.jar.delete("weft-session.1");
  const cut = await visitor.ask("/", { headers: { accept: "*/*" } });
  assert.equal(cut.status, 401);
  assert.equal(visitor.jar.size, 0, "what is left of it is removed");
});

test("tokens are renewed once for all that ask, before they run out", async (t) => {
  const idp = await provide(t, { ttl: { AccessToken: () => 300 } });
  const kit = await kitOf(t, idp);
  const visitor = new Visitor(kit);
  await visitor.logIn();
  const before = visitor.jar.get("weft-session")!;
  kit.wallMs += 280_000;
  idp.asked.length = 0;
  const headers = { cookie: `weft-session=${before}`, accept: "*/*" };
  const answers = await Promise.all([1, 2, 3].map(() => kit.request({ headers })));
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200],
  );
  assert.equal(idp.asked.filter((one) => one === "POST /token").length, 1);
  // one that still has the old cookie gets the new one too, at once
  const late = await kit.request({ headers });
  assert.equal(late.wasSync, true);
  assert.notEqual(setCookies(late)[0], undefined);
  visitor.jar.set("weft-session", /=([^;]+)/.exec(setCookies(late)[0]!)![1]!);
  const next = await visitor.ask("/");
  assert.deepEqual([next.status, next.headers["set-cookie"]], [200, undefined]);
});

for (const [when, laterMs] of [
  ["before they run out", 280_000],
  ["after they ran out", 301_000],
] as const) {
  test(`two tabs on two workers renew tokens once, ${when}`, async (t) => {
    // a refresh token that is used twice ends all that came of it
    const idp = await provide(t, { ttl: { AccessToken: () => 300 } });
    const one = await kitOf(t, idp);
    const two = await kitOf(t, idp, {}, { sibling: one });
    two.wallMs = one.wallMs;
    const visitor = new Visitor(one);
    await visitor.logIn();
    for (const kit of [one, two]) kit.wallMs += laterMs;
    idp.asked.length = 0;
    const headers = { cookie: `weft-session=${visitor.jar.get("weft-session")!}`, accept: "*/*" };
    const tabs = await Promise.all([one, two, two, one].map((kit) => kit.request({ headers })));
    assert.deepEqual(
      tabs.map(({ status }) => status),
      [200, 200, 200, 200],
    );
    assert.equal(idp.asked.filter((asked) => asked === "POST /token").length, 1);
    // whoever still has the old cookie gets the new one, from the other worker too
    let late = await two.request({ headers });
    await eventually("the news", async () => {
      late = await two.request({ headers });
      return setCookies(late).length > 0;
    });
    assert.equal(late.status, 200);
    visitor.jar.set("weft-session", /=([^;]+)/.exec(setCookies(late)[0]!)![1]!);
    for (const kit of [one, two]) kit.wallMs += 280_000;
    // the session's refresh token is the last one that was given, and works
    assert.equal((await visitor.ask("/", { headers: { accept: "*/*" } })).status, 200);
    assert.equal(idp.asked.filter((asked) => asked === "POST /token").length, 2);
  });
}

test("a session whose refresh token was withdrawn ends when its tokens do", async (t) => {
  const idp = await provide(t, { ttl: { AccessToken: () => 300 } });
  const kit = await kitOf(t, idp);
  const visitor = new Visitor(kit);
  await visitor.logIn();
  idp.instead = (_req, res) => res.writeHead(400).end('{"error":"invalid_grant"}');
  kit.wallMs += 280_000;
  assert.equal((await visitor.ask("/", { headers: { accept: "*/*" } })).status, 200);
  kit.wallMs += 20_001;
  const headers = { accept: "*/*", cookie: `weft-session=${visitor.jar.get("weft-session")!}` };
  assert.equal((await kit.request({ headers })).status, 401);
  idp.asked.length = 0;
  assert.equal((await kit.request({ headers })).status, 401);
  assert.deepEqual(idp.asked, [], "a refusal is remembered for a moment");
  idp.instead = null;
  assert.equal((await visitor.ask("/")).status, 302);
});

test("tokens that live for seconds are not renewed with every request", async (t) => {
  const idp = await provide(t, { ttl: { AccessToken: () => 8 } });
  const kit = await kitOf(t, idp);
  const visitor = new Visitor(kit);
  await visitor.logIn();
  idp.asked.length = 0;
  for (let i = 0; i < 3; i++) assert.equal((await visitor.ask("/")).status, 200);
  assert.deepEqual(idp.asked, []);
  kit.wallMs += 7000;
  for (let i = 0; i < 3; i++) assert.equal((await visitor.ask("/")).status, 200);
  assert.deepEqual(idp.asked, ["POST /token"]);
});

test("a session has an end, whatever its tokens say", async (t) => {
  const kit = await kitOf(t, await provide(t), { maxAge: "1h" });
  const visitor = new Visitor(kit);
  const done = await visitor.logIn();
  assert.match(
    done.headers["set-cookie"]!,
    /weft-session=[^;]+; Path=\/; Max-Age=3600; HttpOnly; SameSite=Lax/,
  );
  assert.equal((await visitor.ask("/")).status, 200);
  kit.wallMs += 3_600_000;
  assert.equal((await visitor.ask("/")).status, 302);
});

test("logging out removes the session, withdraws its tokens and leads to the provider", async (t) => {
  const idp = await provide(t);
  const kit = await kitOf(t, idp, { afterLogout: "/" });
  const visitor = new Visitor(kit);
  await visitor.logIn();
  const answer = await visitor.ask("/oauth2/logout");
  assert.equal(answer.status, 302);
  const to = new URL(answer.headers["location"]!);
  assert.equal(to.origin, idp.issuer);
  assert.equal(to.searchParams.get("post_logout_redirect_uri"), `${home}/`);
  assert.notEqual(to.searchParams.get("id_token_hint"), null);
  assert.equal(visitor.jar.size, 0);
  assert.equal((await visitor.ask("/")).status, 302);
});

test("over TLS cookies are for TLS alone", async (t) => {
  const kit = await kitOf(t, await provide(t));
  const answer = await kit.request({ scheme: "https", headers: { accept: "text/html" } });
  const to = new URL(answer.headers["location"]!);
  assert.equal(to.searchParams.get("redirect_uri"), "https://example.com/oauth2/callback");
  assert.match(answer.headers["set-cookie"]!, /; Secure$/);
});

test("a provider that is away is 503 auth-unavailable, and known sessions go on", async (t) => {
  const idp = await provide(t);
  const kit = await kitOf(t, idp);
  const visitor = new Visitor(kit);
  await visitor.logIn();
  const began = await visitor.ask("/", { headers: { accept: "*/*" } });
  assert.equal(began.status, 200);
  const { issuer } = idp;
  await idp.close();
  assert.equal((await visitor.ask("/")).status, 200);
  kit.wallMs += 3_600_001;
  const ended = await visitor.ask("/");
  assert.equal(ended.status, 503);
  const fresh = await kitOf(t, { issuer });
  const answer = await fresh.request({ headers: { accept: "text/html" } });
  assert.equal(answer.status, 503);
  assert.equal(answer.headers["retry-after"], "5");
  assert.match(answer.headers["proxy-status"]!, /auth-unavailable/);
  const program = await fresh.request({ headers: { accept: "*/*" } });
  assert.equal(program.status, 401, "a program needs no provider to be told that it must log in");
});

test("a provider that lies about who it is, is as good as away", async (t) => {
  const idp = await provide(t);
  idp.instead = (_req, res) =>
    res.end(
      JSON.stringify({ issuer: "https://other.example", authorization_endpoint: "https://x" }),
    );
  const kit = await kitOf(t, idp);
  assert.equal((await kit.request({ headers: { accept: "text/html" } })).status, 503);
});

test("tokens themselves can be forwarded", async (t) => {
  const idp = await provide(t);
  const kit = await kitOf(t, idp, { forward: { access_token: "authorization", id_token: "x-id" } });
  const visitor = new Visitor(kit);
  await visitor.logIn();
  const { seen } = await visitor.ask("/");
  assert.match(seen!.headers["authorization"]!, /^Bearer [\w-]+$/);
  assert.match(seen!.headers["x-id"]!, /^ey[\w-]+\.[\w-]+\.[\w-]+$/);
});

test("options that cannot work are refused when the configuration loads", async () => {
  const good = { issuer: "https://id.example.com", clientId: "a", secret };
  for (const options of [
    { ...good, issuer: "id.example.com" },
    { ...good, secret: "short" },
    { ...good, secret: undefined },
    { ...good, callback: "//evil" },
    { ...good, callback: "callback" },
    { ...good, forward: { sub: "transfer-encoding" } },
  ])
    await assert.rejects(createKit([{ use: "oidc", options }]), { part: "options" });
});
