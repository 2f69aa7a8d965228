/** One session in many tabs, over real worker threads: its refresh token is used once, whoever asks. */

import assert from "node:assert/strict";
import http from "node:http";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { IdentityProvider, clientId, clientSecret, logIn } from "../support/identity-provider.ts";
import { answering, ok, Origin } from "../support/origin.ts";

let idp: IdentityProvider;
let origin: Origin;
let gateway: Gateway;
before(async () => {
  idp = new IdentityProvider();
  await idp.listen();
  origin = await Origin.start(answering(() => ok("fine")));
  gateway = await Gateway.start({
    args: ["--workers", "3"],
    config: ({ port, admin }) => {
      idp.open([`http://127.0.0.1:${port[0]}/oauth2/callback`], { ttl: { AccessToken: () => 2 } });
      return `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services: { app: { endpoints: ["${origin.address}"] } }
routes:
  - name: app
    to: app
    plugins:
      - oidc: { issuer: "${idp.issuer}", clientId: ${clientId}, clientSecret: ${clientSecret}, secret: a secret for sessions that is long }
admin: { address: "127.0.0.1:${admin}" }
`;
    },
  });
});
after(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await origin?.close();
  await idp?.close();
});

/** On a connection of its own: any worker may take it. */
async function ask(
  path: string,
  headers: Record<string, string>,
): Promise<{ status: number; location: string; cookies: string[] }> {
  const req = http.get({ host: "127.0.0.1", port: gateway.port, path, headers, agent: false });
  const [res] = (await once(req, "response")) as [http.IncomingMessage];
  res.resume();
  await once(res, "end");
  const { location = "", "set-cookie": lines = [] } = res.headers;
  return { status: res.statusCode!, location, cookies: lines.map((line) => line.split(";")[0]!) };
}

test("tabs whose tokens run out renew them once between them", async () => {
  const page = { accept: "text/html" };
  const begun = await ask("/", page);
  assert.equal(begun.status, 302);
  const back = new URL(await logIn(begun.location, "alice"));
  const login = { ...page, cookie: begun.cookies.join("; ") };
  const done = await ask(back.pathname + back.search, login);
  assert.equal(done.status, 302);
  const cookie = done.cookies.find((one) => one.startsWith("weft-session="))!;
  const isRenewal = (asked: string): boolean => asked === "POST /token";
  assert.equal(idp.asked.filter(isRenewal).length, 1);
  // all tabs have the cookie of before: until the renewal they get none, after it each gets the new one
  await eventually("all workers to know the new session", async () => {
    const tabs = await Promise.all(
      Array.from({ length: 12 }, () => ask("/", { cookie, accept: "*/*" })),
    );
    assert.deepEqual([...new Set(tabs.map(({ status }) => status))], [200]);
    return tabs.every(({ cookies }) => cookies.length > 0);
  });
  assert.equal(idp.asked.filter(isRenewal).length, 2);
});
