/** CONTRACT sections 2 and 11 about access rules, on a real sidecar: who may call, and what a shadow rule leaves behind. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { signed, testAuthority, type Pair, type TestAuthority } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import { RawClient } from "../support/raw-client.ts";

let authority: TestAuthority;
let app: Origin;
let sidecar: Gateway;

/** The certificate of a service of this trust domain. */
function named(service: string): Promise<Pair> {
  return signed(authority, { uris: [`spiffe://weft.local/service/${service}`] });
}

before(async () => {
  authority = await testAuthority();
  app = await Origin.start(answering((request) => ok(`app ${request.start.split(" ")[1]}`)));
  const own = await named("orders");
  sidecar = await Gateway.start({
    mode: "mesh",
    files: { "own.crt": own.cert, "own.key": own.key, "bundle.crt": authority.cert },
    config: ({ port, admin }) => `
mesh:
  service: orders
  app: ${app.address}
  inbound: 127.0.0.1:${port[0]}
  identity: { cert: own.crt, key: own.key, bundle: bundle.crt }
access:
  rules:
    - { to: orders, from: [web, batch, beta], methods: [GET], paths: [/orders/*] }
    - { to: orders, from: [batch], action: deny }
    - { to: orders, from: [beta], action: shadow }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  await sidecar?.stop();
  await app.close();
});

async function call(service: string, line: string) {
  const { cert, key } = await named(service);
  using client = await RawClient.connect(sidecar.port, { tls: { cert, key } });
  await client.send(`${line} HTTP/1.1\r\nHost: orders\r\nContent-Length: 0\r\n\r\n`);
  return await client.response();
}

test("a caller whose certificate is valid and whom a rule allows reaches the app", async () => {
  const answer = await call("web", "GET /orders/1");
  assert.deepEqual([answer.status, answer.body], [200, "app /orders/1"]);
});

for (const [what, service, line, rule] of [
  ["the folder itself is not below it", "web", "GET /orders", "access.default"],
  ["dot segments lead nowhere", "web", "GET /orders/../admin", "access.default"],
  ["another method", "web", "POST /orders/1", "access.default"],
  ["deny wins over allow", "batch", "GET /orders/1", "access.rules[1]"],
  ["a service that no rule names", "stranger", "GET /orders/1", "access.default"],
] as const)
  test(`403 names the rule: ${what}`, async () => {
    const answer = await call(service, line);
    assert.equal(answer.status, 403);
    assert.equal(answer.code, "forbidden");
    assert.ok(answer.body.includes(rule), answer.body);
  });

for (const path of ["/orders/%2Fx", "/orders/%5Cx", "/orders/%00", "/orders\\x", "/orders/..;/x"])
  test(`${path} is refused before the rules are asked`, async () => {
    const answer = await call("stranger", `GET ${path}`);
    assert.equal(answer.status, 400);
    assert.equal(answer.code, "bad-request");
  });

test("a shadow rule decides nothing, and is counted and logged", async () => {
  assert.equal((await call("beta", "GET /orders/1")).status, 200);
  await eventually("the count and the line", async () => {
    const labels = { decision: "shadow", source: "beta", destination: "orders" };
    return (
      (await sidecar.metric("weft_access_total", labels)) === 1 &&
      sidecar.stderr.includes("a shadow rule would have decided")
    );
  });
});

test("what weft itself answers with 5xx is logged though the access log is off", async () => {
  await app.close();
  assert.equal((await call("web", "GET /orders/2")).status, 502);
  const lines = await eventually("a line", () => {
    const found = sidecar.stdout.split("\n").filter((line) => line.includes('"status":'));
    return found.length > 0 ? found : null;
  });
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { status: number }).status),
    [502],
  );
});
