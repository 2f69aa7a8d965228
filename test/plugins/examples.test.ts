import assert from "node:assert/strict";
import { test } from "node:test";
import redact from "../../examples/plugins/redact.ts";
import shed from "../../examples/plugins/shed.ts";
import tenant from "../../examples/plugins/tenant.ts";
import { createKit } from "../support/plugin-kit.ts";

test("tenant refuses a request without its header, and only that", async (t) => {
  const kit = await createKit([{ use: tenant }]);
  t.after(() => kit.close());
  const refused = await kit.request();
  assert.equal(refused.status, 401);
  assert.equal(refused.problem?.["detail"], "missing tenant");
  assert.equal((await kit.request({ headers: { "X-Tenant": "acme" } })).status, 200);
});

test("tenant looks at the header of its options", async (t) => {
  const kit = await createKit([{ use: tenant, options: { header: "x-org" } }]);
  t.after(() => kit.close());
  assert.equal((await kit.request({ headers: { "x-tenant": "acme" } })).status, 401);
  assert.equal((await kit.request({ headers: { "x-org": "acme" } })).status, 200);
});

test("redact takes fields out of JSON, for all but the staff", async (t) => {
  const kit = await createKit([{ use: redact, options: { fields: ["secret"] } }], {
    upstream: () => ({
      headers: { "content-type": "application/json", etag: '"1"' },
      body: ['{"a":1,"sec', 'ret":2}'],
    }),
  });
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.body.toString(), '{"a":1}');
  assert.equal(answer.headers["etag"], undefined);
  const staff = { name: "s", plan: null, groups: ["staff"] };
  assert.match((await kit.request({ consumer: staff })).body.toString(), /secret/);
});

test("shed gives back what it took, also when the exchange ended early", async (t) => {
  const kit = await createKit([{ use: shed, options: { max: 1 } }]);
  t.after(() => kit.close());
  for (let i = 0; i < 3; i++) assert.equal((await kit.request()).status, 200);
  const { hooks } = kit.chain!.plugins[0]!;
  const held = kit.exchange();
  void hooks.request!(held.req, held);
  assert.equal((await kit.request()).status, 503);
  assert.equal(kit.count("shed"), 1);
  const end = { code: "client-closed", end: "client-aborted" } as const;
  hooks.done!(
    {
      ...end,
      status: 0,
      durationMs: 1,
      requestBytes: 0,
      responseBytes: 0,
      attempts: 0,
      endpoint: null,
    },
    held,
  );
  assert.equal((await kit.request()).status, 200);
});
