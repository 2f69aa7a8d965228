/** Logging in with a real browser, at a real provider, through a real gateway of several workers. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";
import { Gateway } from "../support/gateway.ts";
import { IdentityProvider, clientId, clientSecret } from "../support/identity-provider.ts";

const executablePath = "/usr/bin/chromium";
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-background-networking",
];

const present = existsSync(executablePath);
describe("a login", { skip: present ? false : `${executablePath} is not installed` }, () => {
  let browser: Browser;
  let origin: http.Server;
  let idp: IdentityProvider;
  let gateway: Gateway;

  before(async () => {
    origin = http.createServer((req, res) => {
      const { "x-user": user, "x-weft-consumer": consumer, cookie } = req.headers;
      res.setHeader("content-type", "text/html");
      res.end(
        `<title>shop</title><p id="seen">${JSON.stringify({ url: req.url, user, consumer, cookie })}</p>`,
      );
    });
    origin.listen(0, "127.0.0.1");
    await once(origin, "listening");
    const { port: up } = origin.address() as AddressInfo;
    idp = new IdentityProvider();
    await idp.listen();
    gateway = await Gateway.start({
      config: ({ port, admin }) => {
        idp.open([`http://127.0.0.1:${port[0]}/oauth2/callback`]);
        return `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services: { shop: { endpoints: ["127.0.0.1:${up}"] } }
routes:
  - name: shop
    to: shop
    plugins:
      - security-headers
      - oidc:
          issuer: ${idp.issuer}
          clientId: ${clientId}
          clientSecret: ${clientSecret}
          secret: a secret for the sessions of this test
          forward: { sub: x-user }
          afterLogout: /
admin: { address: "127.0.0.1:${admin}" }
workers: 2
`;
      },
    });
    browser = await chromium.launch({ executablePath, args: flags });
  });
  after(async () => {
    await browser?.close();
    await gateway?.stop();
    await idp?.close();
    origin?.closeAllConnections();
    origin?.close();
  });

  /** Fills in the provider's pages, as many as it shows, until it sends the browser back. */
  async function logIn(page: Page, user: string): Promise<void> {
    while (new URL(page.url()).origin === idp.issuer) {
      const { href } = new URL(page.url());
      const submit = page.locator('button[type="submit"]');
      await submit.waitFor();
      if ((await page.locator('input[name="login"]').count()) > 0) {
        await page.fill('input[name="login"]', user);
        await page.fill('input[name="password"]', "anything");
      }
      await submit.click();
      await page.waitForURL((url) => url.href !== href, { waitUntil: "commit" });
    }
  }

  it("begins at the page that was asked for, ends there, and can be undone", async () => {
    const home = `http://127.0.0.1:${gateway.port}`;
    const visit = await browser.newContext();
    const page = await visit.newPage();
    await page.goto(`${home}/cart?item=7`);
    assert.equal(new URL(page.url()).origin, idp.issuer);
    await logIn(page, "alice");
    assert.equal(page.url(), `${home}/cart?item=7`);
    const seen = JSON.parse((await page.locator("#seen").textContent())!) as Record<string, string>;
    assert.equal(seen["user"], "alice");
    assert.equal(seen["consumer"], "alice");
    assert.equal(seen["url"], "/cart?item=7");
    assert.doesNotMatch(seen["cookie"] ?? "", /weft-session/);
    const [cookie] = (await visit.cookies(home)).filter(({ name }) => name === "weft-session");
    assert.deepEqual([cookie?.httpOnly, cookie?.sameSite], [true, "Lax"]);
    assert.equal(await page.evaluate("document.cookie.includes('weft-session')"), false);
    // whichever worker answers, the session is known
    const statuses = await page.evaluate(() =>
      Promise.all(
        Array.from({ length: 20 }, (_, i) => fetch(`/api/${i}`).then((one) => one.status)),
      ),
    );
    assert.deepEqual(new Set(statuses), new Set([200]));
    // two tabs begin at the same time in another browser profile: both arrive
    const other = await browser.newContext();
    const [left, right] = [await other.newPage(), await other.newPage()];
    await left.goto(`${home}/left`);
    await right.goto(`${home}/right`);
    for (const [tab, path] of [
      [left, "/left"],
      [right, "/right"],
    ] as const) {
      await logIn(tab, "bob");
      assert.equal(tab.url(), home + path);
      await tab.getByText('"user":"bob"').waitFor();
    }
    await other.close();
    await page.goto(`${home}/oauth2/logout`);
    assert.equal(new URL(page.url()).origin, idp.issuer);
    await page.click('button:has-text("Yes, sign me out")');
    // back at the page after logout, which asks to log in again
    await page.locator('input[name="login"]').waitFor();
    assert.equal(new URL(page.url()).origin, idp.issuer);
    const kept = (await visit.cookies(home)).filter(({ name }) => name === "weft-session");
    assert.deepEqual(kept, []);
    await visit.close();
  });

  it("is asked of pages alone, and cannot be forged from another site", async () => {
    const home = `http://127.0.0.1:${gateway.port}`;
    const program = await fetch(`${home}/api`);
    assert.equal(program.status, 401);
    const problem = (await program.json()) as Record<string, unknown>;
    assert.equal(problem["code"], "unauthenticated");
    const page = await browser.newPage();
    const answer = await page.goto(`${home}/oauth2/callback?code=stolen&state=${"A".repeat(43)}`);
    assert.equal(answer?.status(), 400);
    await page.close();
  });
});
