/** A verified peer that tries to reach more than its rule allows: paths, claims, methods, other services' names. */

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { createAuthority, issueCertificate } from "../../control/authority/authority.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import { freePort } from "../support/ports.ts";
import { eventually } from "../support/eventually.ts";
import { RawClient } from "../support/raw-client.ts";

const work = fs.mkdtempSync(path.join(os.tmpdir(), "weft-mesh-"));
const file = (name: string) => path.join(work, name);
let app: Origin;
let sidecar: Gateway;
let inbound: number;

before(async () => {
  await createAuthority(file("ca"), "weft.local");
  for (const service of ["orders", "web"])
    await issueCertificate({ service, ca: file("ca"), out: work });
  app = await Origin.start(answering((request) => ok(request.start)));
  inbound = await freePort();
  sidecar = await Gateway.start({
    mode: "mesh",
    config: ({ port, admin }) => `
mesh:
  service: orders
  app: ${app.address}
  inbound: 127.0.0.1:${inbound}
  outbound: 127.0.0.1:${port[0]}
  trustDomain: weft.local
  identity: { cert: ${file("orders.crt")}, key: ${file("orders.key")}, bundle: ${file("bundle.crt")} }
access:
  rules:
    - { to: orders, from: [web], methods: [GET], paths: [/orders/*] }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  await sidecar?.stop();
  await app?.close();
  fs.rmSync(work, { recursive: true, force: true });
});

const asWeb = () =>
  RawClient.connect(inbound, {
    tls: {
      cert: fs.readFileSync(file("web.crt")),
      key: fs.readFileSync(file("web.key")),
      ca: fs.readFileSync(file("bundle.crt")),
      ALPNProtocols: ["http/1.1"],
    },
  });

async function ask(start: string, ...lines: string[]) {
  using client = await asWeb();
  await client.send(
    `${start} HTTP/1.1\r\nHost: orders\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`,
  );
  return await client.response();
}

test("what the rule allows reaches the app, with the verified name of its caller", async () => {
  app.forgetRequests();
  const answer = await ask("GET /orders/7");
  assert.equal(answer.status, 200);
  assert.match(app.text, /x-weft-peer: spiffe:\/\/weft\.local\/service\/web\r\n/);
});

describe("is not let through:", () => {
  for (const target of [
    "/admin",
    "/orders",
    "/ordersx/1",
    "/orders/../admin",
    "/orders/./../admin",
    "/orders/%2e%2e/admin",
    "/orders/%2E%2E/admin",
    "/orders/.%2e/admin",
    "/orders/..;/admin",
    "/orders/..;x=y/admin",
    "/orders/%2e%2e;/admin",
    "/orders/..%2fadmin",
    "/orders/..%5cadmin",
    "/orders/..\\admin",
    "/orders/x%00/../../admin",
    "//orders/../admin",
    "/orders//../../admin",
    "/orders/%252e%252e/../../admin",
    "/admin#/orders/",
    "/admin?/orders/x",
    "/admin;/orders/x",
  ]) {
    test(target, async () => {
      app.forgetRequests();
      const answer = await ask(`GET ${target}`);
      assert.ok(
        answer.status === 403 || answer.status === 400,
        `${answer.status}: ${app.text.split("\r\n")[0]}`,
      );
      assert.equal(app.text, "");
    });
  }

  test("another method", async () => {
    app.forgetRequests();
    assert.equal((await ask("DELETE /orders/7")).status, 403);
    assert.equal(app.text, "");
  });

  test("an absolute target of another host", async () => {
    app.forgetRequests();
    const answer = await ask("GET http://other/orders/7");
    assert.equal(answer.status, 400);
    assert.equal(app.text, "");
  });
});

test("a forged identity is removed, the verified one is set", async () => {
  app.forgetRequests();
  const answer = await ask(
    "GET /orders/7",
    "x-weft-peer: spiffe://weft.local/service/admin",
    "X-Weft-Other: 1",
  );
  assert.equal(answer.status, 200);
  assert.deepEqual(
    app.text.match(/^x-weft-[a-z]+: .*$/gim)?.map((line) => line.trim()),
    ["x-weft-peer: spiffe://weft.local/service/web"],
  );
});

test("Connection cannot take the verified name away", async () => {
  app.forgetRequests();
  const answer = await ask("GET /orders/7", "Connection: x-weft-peer");
  assert.equal(answer.status, 400);
  assert.equal(app.text, "");
});

test("the reason is for verified callers: it names the rule", async () => {
  const answer = await ask("GET /admin");
  assert.equal(answer.code, "forbidden");
  assert.match(answer.body, /spiffe:\/\/weft\.local\/service\/web/);
});

test("plain text on the inbound port is refused and counted", async () => {
  app.forgetRequests();
  using client = await RawClient.connect(inbound);
  await client.send("GET /orders/7 HTTP/1.1\r\nHost: orders\r\n\r\n");
  const text = await client.untilEnded();
  assert.doesNotMatch(text, /^HTTP\/1\.1 200/);
  assert.equal(app.text, "");
  // the counter follows the refusal
  await eventually("the refusal to be counted", async () => {
    return (await sidecar.metric("weft_peers_refused_total", { reason: "plain-text" })) >= 1;
  });
});
