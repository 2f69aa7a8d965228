import assert from "node:assert/strict";
import { test } from "node:test";
import { createKit } from "../support/plugin-kit.ts";
import type { KitOptions, KitUse } from "../support/plugin-kit.ts";

async function kitOf(
  t: { after(run: () => Promise<void>): void },
  use: KitUse,
  options: KitOptions = {},
) {
  const kit = await createKit([use], options);
  t.after(() => kit.close());
  return kit;
}

test("request-id shows weft's id and ignores a caller's", async (t) => {
  const kit = await kitOf(t, { use: "request-id" });
  const answer = await kit.request({ headers: { "x-request-id": "mine" } });
  assert.equal(answer.headers["x-request-id"], "id-1");
  assert.equal(answer.ctx.id, "id-1");
});

test("request-id keeps a caller's id when told to, if it is plain", async (t) => {
  const kit = await kitOf(t, {
    use: "request-id",
    options: { trust: true, header: "x-correlation-id" },
  });
  const kept = await kit.request({ headers: { "x-correlation-id": "abc.1" } });
  assert.equal(kept.headers["x-correlation-id"], "abc.1");
  assert.equal(kept.seen?.headers["x-correlation-id"], "abc.1");
  assert.equal(kept.ctx.id, "abc.1");
  const wild = await kit.request({ headers: { "x-correlation-id": "a b<script>" } });
  assert.equal(wild.headers["x-correlation-id"], "id-1");
  const long = await kit.request({ headers: { "x-correlation-id": "x".repeat(129) } });
  assert.equal(long.ctx.id, "id-1");
});

const preflight = (origin: string) =>
  ({
    method: "OPTIONS",
    headers: {
      origin,
      "access-control-request-method": "PUT",
      "access-control-request-headers": "x-a, x-b",
    },
  }) as const;

test("cors answers a preflight itself", async (t) => {
  const kit = await kitOf(t, { use: "cors", options: { origins: ["https://*.example.com"] } });
  const answer = await kit.request(preflight("https://shop.example.com"));
  assert.equal(answer.status, 204);
  assert.equal(answer.seen, null);
  assert.equal(answer.headers["access-control-allow-origin"], "https://shop.example.com");
  assert.match(answer.headers["access-control-allow-methods"]!, /PUT/);
  assert.equal(answer.headers["access-control-allow-headers"], "x-a, x-b");
  assert.equal(answer.headers["access-control-max-age"], "3600");
  assert.match(answer.headers["vary"]!, /Origin/);
});

for (const origin of [
  "https://example.com",
  "http://shop.example.com",
  "https://evil.com",
  "https://shop.example.com.evil.com",
  "https://evil.com:1.example.com",
  "https://.example.com/x.example.com",
  "null",
]) {
  test(`cors gives ${origin} no permission`, async (t) => {
    const kit = await kitOf(
      t,
      { use: "cors", options: { origins: ["https://*.example.com"] } },
      { upstream: () => ({ headers: { "access-control-allow-origin": "*" } }) },
    );
    const asked = await kit.request(preflight(origin));
    assert.equal(asked.headers["access-control-allow-origin"], undefined);
    assert.equal(asked.headers["access-control-allow-methods"], undefined);
    const got = await kit.request({ headers: { origin } });
    assert.equal(got.headers["access-control-allow-origin"], undefined);
  });
}

test("cors with credentials names the origin and varies by it", async (t) => {
  const kit = await kitOf(t, { use: "cors", options: { credentials: true, expose: ["x-total"] } });
  const answer = await kit.request({ headers: { origin: "https://a.example" } });
  assert.equal(answer.headers["access-control-allow-origin"], "https://a.example");
  assert.equal(answer.headers["access-control-allow-credentials"], "true");
  assert.equal(answer.headers["access-control-expose-headers"], "x-total");
  assert.equal(answer.headers["vary"], "Origin");
  assert.equal((await kit.request()).headers["vary"], "Origin");
});

test("cors lets a page read the 401 of a later plugin", async (t) => {
  const kit = await createKit([{ use: "api-key" }, { use: "cors" }]);
  t.after(() => kit.close());
  const answer = await kit.request({ headers: { origin: "https://a.example" } });
  assert.equal(answer.status, 401);
  assert.equal(answer.headers["access-control-allow-origin"], "*");
});

test("an OPTIONS request that is no preflight goes to the service", async (t) => {
  const kit = await kitOf(t, { use: "cors" });
  assert.equal((await kit.request({ method: "OPTIONS" })).seen?.method, "OPTIONS");
});

test("headers sets, adds and removes on both ways", async (t) => {
  const kit = await kitOf(
    t,
    {
      use: "headers",
      options: {
        request: { set: { "x-a": "1" }, add: { "x-b": "2" }, remove: ["x-c"] },
        response: { set: { "x-frame-options": "DENY" }, remove: ["server"] },
      },
    },
    { upstream: () => ({ headers: { server: "old" } }) },
  );
  const answer = await kit.request({ headers: { "x-a": "0", "x-b": "1", "x-c": "3" } });
  assert.equal(answer.seen?.headers["x-a"], "1");
  assert.equal(answer.seen?.headers["x-b"], "2");
  assert.equal(answer.seen?.headers["x-c"], undefined);
  assert.equal(answer.headers["x-frame-options"], "DENY");
  assert.equal(answer.headers["server"], undefined);
});

test("headers has no hook that its configuration does not need", async (t) => {
  const kit = await kitOf(t, { use: "headers", options: { response: { set: { a: "b" } } } });
  assert.equal(kit.chain?.request, null);
});

for (const [what, options] of Object.entries({
  "a framing field": { request: { set: { "content-length": "1" } } },
  "a line break in a value": { request: { set: { "x-a": "1\r\nx-b: 2" } } },
  "a name with a space": { response: { remove: ["x a"] } },
  "an unknown option": { reqest: {} },
})) {
  test(`headers refuses ${what} when the configuration loads`, async () => {
    await assert.rejects(createKit([{ use: "headers", options }]), { part: "options" });
  });
}

test("body-limit refuses an announced body before it comes", async (t) => {
  const kit = await kitOf(t, { use: "body-limit", options: { bytes: "4B" } });
  const answer = await kit.request({ method: "POST", body: "12345" });
  assert.equal(answer.status, 413);
  assert.equal(answer.problem?.["code"], "body-too-large");
  assert.equal((await kit.request({ method: "POST", body: "1234" })).seen?.body, "1234");
});

test("body-limit refuses a body that grows over the limit", async (t) => {
  const kit = await kitOf(t, { use: "body-limit", options: { bytes: 4 } });
  assert.equal((await kit.request({ method: "POST", body: ["123", "45"] })).status, 413);
  assert.equal((await kit.request({ method: "POST", body: ["12", "34"] })).seen?.body, "1234");
});

for (const [client, allowed] of [
  ["10.1.2.3", true],
  ["::ffff:10.1.2.3", true],
  ["10.9.0.1", false],
  ["192.0.2.1", false],
  ["2001:db8::1", true],
  ["2001:db9::1", false],
  ["198.51.100.7", true],
  ["198.51.100.8", false],
  ["not an address", false],
] as const) {
  test(`ip-filter ${allowed ? "lets in" : "keeps out"} ${client}`, async (t) => {
    const kit = await kitOf(t, {
      use: "ip-filter",
      options: { allow: ["10.0.0.0/8", "2001:db8::/32", "198.51.100.7"], deny: ["10.9.0.0/16"] },
    });
    const answer = await kit.request({ client });
    assert.equal(answer.status, allowed ? 200 : 403);
    if (!allowed) assert.equal(answer.problem?.["code"], "forbidden");
  });
}

test("ip-filter refuses what is no block when the configuration loads", async () => {
  for (const block of ["10.0.0.0/33", "10.0.0", "::/129", "a/8", "10.0.0.0/8/8"]) {
    await assert.rejects(createKit([{ use: "ip-filter", options: { deny: [block] } }]), {
      part: "options",
    });
  }
});

test("access-log prints one JSON line per exchange with the asked fields", async (t) => {
  const kit = await kitOf(t, { use: "access-log", options: { fields: ["user-agent"] } });
  await kit.request({ path: "/a?secret=1", headers: { "user-agent": 'x"\t' } });
  assert.equal(kit.printed.length, 1);
  const line = JSON.parse(kit.printed[0]!) as Record<string, unknown>;
  assert.equal(line["path"], "/a");
  assert.equal(line["status"], 200);
  assert.equal(line["route"], "route");
  assert.equal(line["user-agent"], 'x"\t');
  assert(!kit.printed[0]!.includes("secret"));
});

test("access-log leaves out what its condition does not want", async (t) => {
  const kit = await kitOf(t, { use: "access-log", options: { when: "status >= 400" } });
  await kit.request();
  assert.equal(kit.printed.length, 0);
});
