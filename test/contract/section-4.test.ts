/** CONTRACT section 4 for answers that a plugin of one's own makes: they carry what their status needs. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Gateway } from "../support/gateway.ts";

let gateway: Gateway;
before(async () => {
  gateway = await Gateway.start({
    files: {
      "own.ts": `import { definePlugin, reply } from "weft/plugin";
        export default definePlugin({ name: "own", stage: "authz", setup: () => ({
          request(req) { return reply(Number(req.path.slice(1)), "not now"); } }) });`,
    },
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
routes: [{ name: all, respond: { body: never }, plugins: [./own.ts] }]
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(() => gateway?.stop());

for (const [status, code, needed] of [
  [401, "unauthenticated", "www-authenticate"],
  [403, "forbidden", null],
  [429, "rate-limited", "retry-after"],
  [503, "overloaded", "retry-after"],
] as const)
  test(`a bare reply(${status}) is a problem document${needed === null ? "" : ` with ${needed}`}`, async () => {
    const answer = await fetch(`http://127.0.0.1:${gateway.port}/${status}`);
    assert.equal(answer.status, status);
    assert.equal(answer.headers.get("content-type"), "application/problem+json");
    assert.match(answer.headers.get("proxy-status") ?? "", /^weft; error=\w+; details="/);
    if (needed !== null) assert.ok(answer.headers.has(needed));
    const document = (await answer.json()) as Record<string, unknown>;
    assert.equal(document["code"], code);
    assert.equal(document["status"], status);
    assert.equal(document["detail"], "not now");
    assert.equal(document["instance"], answer.headers.get("x-request-id"));
    assert.equal(document["type"], `https://weft.dev/docs/errors#${code}`);
    assert.equal(typeof document["title"], "string");
  });
