/** The dashboard in a real browser: what it shows, and that nothing in a name becomes part of the page. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, it, type TestContext } from "node:test";
import { chromium, type Browser, type Page } from "playwright-core";
import { createAdmin } from "../../control/admin/app.ts";
import { listenAdmin } from "../../control/admin/server.ts";
import { plugin, route, SampleSource } from "./admin-source.ts";

const executablePath = "/usr/bin/chromium";
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-background-networking",
];

async function serve(
  t: TestContext,
  change: (source: SampleSource) => void = () => {},
  token: string | null = null,
) {
  const source = new SampleSource();
  change(source);
  const app = createAdmin(source, { host: "127.0.0.1", token, version: "1.2.3" });
  const server = await listenAdmin(app, { host: "127.0.0.1", port: 0 });
  t.after(() => server.close());
  return { source, url: `http://${server.address}/` };
}

/** Requests so far on the route `orders`, in the metrics of a scrape. */
const counted = (requests: number, errors: number): string =>
  [
    `weft_requests_total{mode="gateway",listener="web",route="orders",service="orders",method="GET",status="200",code=""} ${requests - errors}`,
    `weft_requests_total{mode="gateway",listener="web",route="orders",service="orders",method="GET",status="502",code="connect-refused"} ${errors}`,
    `weft_request_duration_seconds_bucket{mode="gateway",listener="web",route="orders",service="orders",le="0.005"} ${requests}`,
    `weft_request_duration_seconds_bucket{mode="gateway",listener="web",route="orders",service="orders",le="+Inf"} ${requests}`,
    `weft_attempts_total{service="orders",endpoint="127.0.0.1:3001",result="200"} ${requests - errors}`,
    `weft_attempts_total{service="orders",endpoint="127.0.0.1:3001",result="connect-refused"} ${errors}`,
    'weft_connections{side="downstream"} 12',
    "",
  ].join("\n");

// CI brings chromium; elsewhere the rest of the suite still tells whether the answers behind the page are right.
const present = existsSync(executablePath);
describe("the dashboard", { skip: present ? false : `${executablePath} is not installed` }, () => {
  let browser: Browser;
  before(async () => {
    browser = await chromium.launch({ executablePath, args: flags });
  });
  after(() => browser.close());

  async function open(t: TestContext, url: string): Promise<{ page: Page; errors: string[] }> {
    const page = await browser.newPage();
    t.after(() => page.close());
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    page.on(
      "request",
      (request) => !request.url().startsWith(url) && errors.push(`asked ${request.url()}`),
    );
    await page.goto(url);
    return { page, errors };
  }

  it("lists listeners, routes, services and endpoints with their health", async (t) => {
    const { url } = await serve(t);
    const { page, errors } = await open(t, url);
    await page.getByText("1 of 2 healthy").waitFor();
    assert.equal(await page.locator("#status").textContent(), "ready");
    const services = (await page.locator("#services").textContent())!;
    for (const word of ["orders", "127.0.0.1:3001", "ejected", "payments", "unhealthy"])
      assert.ok(services.includes(word), word);
    const routes = (await page.locator("#routes").textContent())!;
    for (const word of [
      "api.example.com GET|POST /orders/*",
      "orders 90, payments 10",
      "308 to /orders",
      "rate-limit",
    ]) {
      assert.ok(routes.includes(word), word);
    }
    assert.match((await page.locator("#listeners").textContent())!, /web127\.0\.0\.1:8080edge/);
    assert.deepEqual(errors, []);
  });

  it("shows rates, errors and latency once there are two readings", async (t) => {
    let requests = 1000;
    const { source, url } = await serve(t);
    source.metrics = () => counted((requests += 100), requests / 10);
    const { page, errors } = await open(t, url);
    const row = page.locator("#routes tbody tr", { hasText: "api.example.com" });
    await row.getByText("10 %", { exact: true }).waitFor();
    assert.match((await row.textContent())!, /2\.5 ms/);
    assert.match((await page.locator("#tiles").textContent())!, /Connections12/);
    assert.deepEqual(errors, []);
  });

  it("shows names as text, whatever stands in them", async (t) => {
    const name = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
    const { url } = await serve(t, (source) => {
      const config = source.applied!.config;
      const routes = [
        route(name, { hosts: [name], to: [{ service: name, weight: 1 }], plugins: [plugin(name)] }),
      ];
      const services = { [name]: config.services.orders! };
      source.applied = {
        ...source.applied!,
        origin: name,
        config: { ...config, routes, services },
      };
      source.states = {
        [name]: [{ address: name, healthy: true, state: "healthy", ejectedUntilMs: null }],
      };
      source.ready = {
        ...source.ready,
        lastRejected: { atMs: 0, problems: [{ path: [], at: "value", message: name }] },
      };
    });
    const { page, errors } = await open(t, url);
    await page.locator("#routes tbody tr").first().waitFor();
    assert.equal(await page.locator("main img, main script").count(), 0);
    assert.ok((await page.locator("#routes").textContent())!.includes(name));
    assert.ok((await page.locator("#notice").textContent())!.includes(name));
    assert.equal(await page.title(), "weft gateway");
    assert.deepEqual(errors, []);
  });

  it("filters routes by words", async (t) => {
    const { url } = await serve(t);
    const { page } = await open(t, url);
    await page.getByLabel("Filter routes").fill("rate-limit jwt");
    await page.waitForFunction("document.querySelectorAll('#routes tbody tr').length === 1");
    await page.getByLabel("Filter routes").fill("nothing like this");
    await page.getByText("No routes.").waitFor();
  });

  it("asks for the token and shows nothing without it", async (t) => {
    const { url } = await serve(t, () => {}, "t0ken");
    const { page } = await open(t, url);
    await page.getByLabel("This admin API wants its token").fill("wrong");
    await page.getByRole("button", { name: "Open" }).click();
    assert.equal(await page.locator("#content").isVisible(), false);
    await page.getByLabel("This admin API wants its token").fill("t0ken");
    await page.getByRole("button", { name: "Open" }).click();
    await page.getByText("1 of 2 healthy").waitFor();
    assert.equal(await page.locator("#login").isVisible(), false);
  });

  it("says so when weft no longer answers", async (t) => {
    const { source, url } = await serve(t);
    const { page } = await open(t, url);
    await page.getByText("1 of 2 healthy").waitFor();
    source.readiness = () => {
      throw new Error("gone");
    };
    await page.locator("#status", { hasText: "no answer" }).waitFor();
  });
});
