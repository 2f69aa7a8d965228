import assert from "node:assert/strict";
import { test } from "node:test";
import { createKit } from "../support/plugin-kit.ts";
import type { KitOptions } from "../support/plugin-kit.ts";

async function kitOf(
  t: { after(run: () => Promise<void>): void },
  use: string,
  options: unknown = {},
  kitOptions: KitOptions = {},
) {
  const kit = await createKit([{ use, options }], kitOptions);
  t.after(() => kit.close());
  return kit;
}

for (const [headers, status] of [
  [{ "sec-fetch-site": "same-origin" }, 200],
  [{ "sec-fetch-site": "none" }, 200],
  [{ "sec-fetch-site": "cross-site" }, 403],
  [{ "sec-fetch-site": "cross-site", origin: "https://shop.example.com" }, 403],
  [{ "sec-fetch-site": "same-site" }, 403],
  [{ "sec-fetch-site": "same-site", origin: "https://app.partner.com" }, 200],
  [{ "sec-fetch-site": "cross-site", origin: "https://app.partner.com" }, 200],
  [{ "sec-fetch-site": "weird" }, 403],
  [{ origin: "https://shop.example.com" }, 200],
  [{ origin: "https://shop.example.com:8443" }, 403],
  [{ origin: "http://shop.example.com.evil.com" }, 403],
  [{ origin: "https://evil.com" }, 403],
  [{ origin: "null" }, 403],
  [{ origin: "" }, 403],
  [{ origin: "https://evil.com", referer: "https://shop.example.com/" }, 403],
  [{ referer: "https://shop.example.com/form?x=1" }, 200],
  [{ referer: "https://evil.com/shop.example.com" }, 403],
  [{ referer: "garbage" }, 403],
  [{}, 200],
] as [Record<string, string>, number][]) {
  test(`csrf answers a POST with ${JSON.stringify(headers)} with ${status}`, async (t) => {
    const kit = await kitOf(t, "csrf", { origins: ["https://*.partner.com"] });
    const host = "shop.example.com";
    const answer = await kit.request({ method: "POST", headers, host });
    assert.equal(answer.status, status);
    assert.equal(answer.wasSync, true);
    if (status === 403) assert.equal(answer.problem?.["code"], "forbidden");
    for (const method of ["GET", "HEAD", "OPTIONS"])
      assert.equal((await kit.request({ method, headers, host })).status, 200);
  });
}

test("csrf compares ports as browsers do, and can be made stricter or wider", async (t) => {
  const kit = await kitOf(t, "csrf", { missing: "reject", sameSite: true });
  const post = (host: string, headers: Record<string, string>) =>
    kit.request({ method: "POST", host, headers }).then(({ status }) => status);
  assert.equal(await post("a.com:443", { origin: "https://a.com" }), 200);
  assert.equal(await post("a.com:8080", { origin: "http://a.com:8080" }), 200);
  assert.equal(await post("a.com:8080", { origin: "http://a.com" }), 403);
  assert.equal(await post("a.com", {}), 403);
  assert.equal(await post("a.com", { "sec-fetch-site": "same-site" }), 200);
});

test("csrf takes no origin that stands for everyone", async () => {
  for (const origin of ["*", "null", "example.com"])
    await assert.rejects(createKit([{ use: "csrf", options: { origins: [origin] } }]), {
      part: "options",
    });
});

test("security-headers fills in what the service does not say, and leaves what it says", async (t) => {
  const kit = await kitOf(
    t,
    "security-headers",
    {},
    {
      upstream: () => ({ headers: { "x-frame-options": "DENY", "x-powered-by": "PHP" } }),
    },
  );
  const { headers } = await kit.request({ scheme: "https" });
  assert.equal(headers["x-frame-options"], "DENY");
  assert.equal(headers["x-content-type-options"], "nosniff");
  assert.equal(headers["referrer-policy"], "strict-origin-when-cross-origin");
  assert.equal(headers["strict-transport-security"], "max-age=31536000; includeSubDomains");
  assert.equal(headers["x-powered-by"], undefined);
  const plain = await kit.request();
  assert.equal(plain.headers["strict-transport-security"], undefined);
});

test("security-headers sends what an option says in place of the service's, or nothing", async (t) => {
  const kit = await kitOf(
    t,
    "security-headers",
    {
      "x-frame-options": "SAMEORIGIN",
      xContentTypeOptions: false,
      contentSecurityPolicy: "default-src 'self'",
      remove: ["server"],
    },
    { upstream: () => ({ headers: { "x-frame-options": "DENY", server: "x" } }) },
  );
  const { headers } = await kit.request();
  assert.equal(headers["x-frame-options"], "SAMEORIGIN");
  assert.equal(headers["x-content-type-options"], undefined);
  assert.equal(headers["content-security-policy"], "default-src 'self'");
  assert.equal(headers["server"], undefined);
});

test("security-headers are on refusals of later plugins too", async (t) => {
  const kit = await createKit([{ use: "api-key" }, { use: "security-headers" }]);
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.status, 401);
  assert.equal(answer.headers["x-content-type-options"], "nosniff");
});

test("security-headers refuses values that would end the field, and unknown fields", async () => {
  for (const options of [
    { "x-frame-options": "a\r\nb: c" },
    { "x-frame": "a" },
    { remove: ["connection"] },
  ])
    await assert.rejects(createKit([{ use: "security-headers", options }]), { part: "options" });
});

for (const [agent, status] of [
  ["sqlmap/1.8#stable (https://sqlmap.org)", 403],
  ["Mozilla/5.0 (compatible; Nikto/2.5)", 403],
  ["NUCLEI", 403],
  ["curl/8.5", 200],
  ["Mozilla/5.0 (X11; Linux x86_64) Chrome/140", 200],
  ["GPTBot/1.2", 200],
  [undefined, 200],
] as const) {
  test(`bot answers ${agent} with ${status}`, async (t) => {
    const kit = await kitOf(t, "bot");
    const headers = agent === undefined ? {} : { "user-agent": agent };
    for (let i = 0; i < 2; i++) {
      const answer = await kit.request({ headers: headers as Record<string, string> });
      assert.deepEqual([answer.status, answer.wasSync], [status, true]);
    }
  });
}

test("bot goes by rules of one's own; allow wins over deny", async (t) => {
  const kit = await kitOf(t, "bot", {
    deny: ["^curl/", "bot"],
    allow: ["goodbot"],
    scrapers: true,
    scanners: false,
    missing: "reject",
  });
  const status = async (agent: string): Promise<number> =>
    (await kit.request({ headers: { "user-agent": agent } })).status;
  assert.equal(await status("curl/8"), 403);
  assert.equal(await status("libcurl/8"), 200);
  assert.equal(await status("GoodBot"), 200);
  assert.equal(await status("ClaudeBot/1"), 403);
  assert.equal(await status("sqlmap"), 200);
  assert.equal(await status(""), 403);
  assert.equal(await status(`${"x".repeat(100_000)}bot`), 200);
});

test("bot refuses patterns that are none when the configuration loads", async () => {
  for (const deny of [["("], ["(?=x)"], ["\\1"]])
    await assert.rejects(createKit([{ use: "bot", options: { deny } }]), { part: "options" });
});
