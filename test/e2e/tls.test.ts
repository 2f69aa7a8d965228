/** TLS in a running gateway: names, files that change, callers' certificates, and services that speak TLS. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import https from "node:https";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import tls from "node:tls";
import { ending } from "../proxy/listen/echo.ts";
import { signed, testAuthority, type Pair, type TestAuthority } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";

const dayMs = 86_400_000;
let authority: TestAuthority;
let shop: Pair;
let gateway: Gateway;
const servers: https.Server[] = [];

/** An HTTPS service that says who it is. */
async function service(pair: Pair, says: string): Promise<number> {
  const server = https.createServer(pair, (_request, response) => void response.end(says));
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function ask(
  port: number,
  host: string,
  options: tls.ConnectionOptions = {},
  where = "/",
): Promise<{ status: number; text: string; fingerprint: string }> {
  const client = await RawClient.connect(port, { tls: { servername: host, ...options } });
  const { fingerprint256 } = (client.socket as tls.TLSSocket).getPeerX509Certificate()!;
  await client.send(`GET ${where} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
  const answer = await client.response();
  client.destroy();
  return { status: answer.status, text: answer.body, fingerprint: fingerprint256 };
}

before(async () => {
  authority = await testAuthority();
  const api = await signed(authority, { dns: ["api.example.com"] });
  shop = await signed(authority, { dns: ["shop.example.com"] });
  const internal = await signed(authority, { dns: ["orders.internal"] });
  const good = await service(internal, "orders over TLS");
  const expired = await service(
    await signed(authority, {
      dns: ["orders.internal"],
      fromMs: Date.now() - 2 * dayMs,
      untilMs: Date.now() - dayMs,
    }),
    "never seen",
  );
  gateway = await Gateway.start({
    ports: 2,
    files: {
      "api.crt": api.cert,
      "api.key": api.key,
      "shop.crt": shop.cert,
      "shop.key": shop.key,
      "ca.crt": authority.cert,
    },
    config: ({ port, admin }) => `
gateway:
  listeners:
    - name: secure
      host: 127.0.0.1
      port: ${port[0]}
      tls: { certificates: [{ cert: api.crt, key: api.key }, { cert: shop.crt, key: shop.key }] }
    - name: partners
      host: 127.0.0.1
      port: ${port[1]}
      tls: { certificates: [{ cert: api.crt, key: api.key }], clientAuth: { ca: ca.crt, mode: require } }
services:
  good: { endpoints: ["127.0.0.1:${good}"], tls: { ca: ca.crt, serverName: orders.internal } }
  expired: { endpoints: ["127.0.0.1:${expired}"], tls: { ca: ca.crt, serverName: orders.internal } }
  stranger: { endpoints: ["127.0.0.1:${good}"], tls: { serverName: orders.internal } }
routes:
  - { name: expired, match: { path: /expired }, to: expired }
  - { name: stranger, match: { path: /stranger }, to: stranger }
  - { name: all, to: good }
admin: { address: "127.0.0.1:${admin}" }
workers: 2
`,
  });
});

after(async () => {
  await gateway?.stop();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

describe("a gateway that speaks TLS on both sides", () => {
  it("carries a request from TLS to TLS", async () => {
    const { status, text } = await ask(gateway.port, "api.example.com");
    assert.deepEqual([status, text], [200, "orders over TLS"]);
  });

  it("answers 421 to a host of another certificate on the same connection", async () => {
    const client = await RawClient.connect(gateway.port, {
      tls: { servername: "api.example.com" },
    });
    await client.send("GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n");
    const answer = await client.response();
    assert.equal(answer.status, 421);
    assert.equal(JSON.parse(answer.body).code, "misdirected");
    client.destroy();
  });

  it("tells plain HTTP on its TLS port so", async () => {
    const client = await RawClient.connect(gateway.port);
    await client.send("GET / HTTP/1.1\r\nhost: api.example.com\r\n\r\n");
    const answer = await client.response();
    assert.equal(answer.status, 400);
    assert.match(answer.body, /plain HTTP on a TLS port/);
    client.destroy();
  });

  it("shows a certificate that was replaced on disk, and keeps the connections that it has", async () => {
    const open = await RawClient.connect(gateway.port, { tls: { servername: "shop.example.com" } });
    const before = (await ask(gateway.port, "shop.example.com")).fingerprint;
    const fresh = await signed(authority, { dns: ["shop.example.com"] });
    writeFileSync(path.join(gateway.folder, "shop.key"), fresh.key);
    writeFileSync(path.join(gateway.folder, "shop.crt"), fresh.cert);
    await eventually(
      "the new certificate",
      async () => (await ask(gateway.port, "shop.example.com")).fingerprint !== before,
    );
    await open.send("GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n");
    assert.equal((await open.response()).status, 200);
    open.destroy();
  });

  it("keeps serving when a certificate on disk turns bad, and says which file", async () => {
    writeFileSync(path.join(gateway.folder, "api.crt"), "half a certif");
    await eventually("the refusal in the log", () =>
      /not a PEM certificate/.test(gateway.stderr + gateway.stdout),
    );
    assert.equal((await ask(gateway.port, "api.example.com")).status, 200);
    assert.ok((await gateway.metric("weft_config_reload_total", { result: "rejected" })) > 0);
  });

  it("lets in a caller with a certificate, and refuses others with a reason", async () => {
    const known = await signed(authority, { commonName: "partner" });
    const [, port] = gateway.ports as [number, number];
    assert.equal((await ask(port, "api.example.com", known)).status, 200);
    for (const [reason, pair] of [
      ["no-certificate", {}],
      ["unknown-authority", await signed(await testAuthority())],
    ] as const) {
      const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...pair });
      await ending(socket);
      await eventually(
        `${reason} in the metrics`,
        async () => (await gateway.metric("weft_peers_refused_total", { reason })) === 1,
      );
      await eventually(`${reason} in the log`, () =>
        gateway.stderr.includes(`refused 127.0.0.1: ${reason}`),
      );
    }
  });

  it("answers 502 upstream-tls for a service whose certificate is wrong, and names the fault", async () => {
    for (const [where, words] of [
      ["/expired", /its certificate has expired/],
      ["/stranger", /authority that is not trusted/],
    ] as const) {
      const { status, text } = await ask(gateway.port, "shop.example.com", {}, where);
      assert.equal(status, 502);
      const problem = JSON.parse(text);
      assert.equal(problem.code, "upstream-tls");
      assert.match(problem.detail, words);
    }
  });
});
