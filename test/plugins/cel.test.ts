import assert from "node:assert/strict";
import { test } from "node:test";
import { Claims, definePlugin } from "../../proxy/pipeline/plugin.ts";
import { createKit } from "../support/plugin-kit.ts";

const claims = definePlugin({
  name: "claims",
  stage: "authn",
  setup: () => ({
    request(req, ctx) {
      const text = req.headers.get("x-claims");
      if (text !== undefined) ctx.set(Claims, JSON.parse(text) as Record<string, unknown>);
    },
  }),
});

async function kitOf(t: { after(run: () => Promise<void>): void }, options: unknown) {
  const kit = await createKit([{ use: claims }, { use: "cel", options }]);
  t.after(() => kit.close());
  return kit;
}

test("a rule over claims and the request decides, at once", async (t) => {
  const kit = await kitOf(t, { allow: "claims.role == 'admin' && request.method == 'GET'" });
  const headers = { "x-claims": '{"role":"admin"}' };
  const answer = await kit.request({ headers });
  assert.deepEqual([answer.status, answer.wasSync], [200, true]);
  assert.equal((await kit.request({ headers, method: "POST" })).status, 403);
  for (const other of ['{"role":"user"}', "{}", '{"role":["admin"]}']) {
    const refused = await kit.request({ headers: { "x-claims": other } });
    assert.equal(refused.status, 403);
    assert.equal(refused.problem?.["code"], "forbidden");
    assert.equal(
      refused.problem?.["detail"],
      "a rule of this route does not allow this (plugin cel)",
    );
  }
  assert.equal((await kit.request()).status, 403);
});

test("a rule over the consumer and the peer decides", async (t) => {
  const kit = await kitOf(t, { allow: '"staff" in consumer.groups || peer.service == "web"' });
  const consumer = { name: "a", plan: null, groups: ["staff"] };
  assert.equal((await kit.request({ consumer })).status, 200);
  const peer = { id: "spiffe://x/service/web", trustDomain: "x", service: "web" };
  assert.equal((await kit.request({ peer })).status, 200);
  assert.equal((await kit.request({ consumer: { ...consumer, groups: [] } })).status, 403);
});

for (const allow of ["claims.level > 3", "claims.list.size() > 0", "claims.role"]) {
  test(`${allow} refuses when it cannot be worked out`, async (t) => {
    const kit = await kitOf(t, { allow });
    for (const given of ["{}", '{"level":"x","list":5,"role":"true"}']) {
      assert.equal((await kit.request({ headers: { "x-claims": given } })).status, 403);
    }
  });
}

for (const allow of ["claims.role ==", "1 + 1", "nowhere == 1", "'text'", ""]) {
  test(`${JSON.stringify(allow)} is refused when the configuration loads`, async () => {
    await assert.rejects(createKit([{ use: "cel", options: { allow } }]), { part: "options" });
  });
}

test("message is what refused callers read", async (t) => {
  const kit = await kitOf(t, { allow: "false", message: "only on Mondays" });
  assert.equal((await kit.request()).problem?.["detail"], "only on Mondays");
});
