import assert from "node:assert/strict";
import { test } from "node:test";
import { createKit } from "../support/plugin-kit.ts";
import type { TlsInfo } from "../../proxy/pipeline/plugin.ts";

const consumers = [
  "acme",
  "alice.example.com",
  "spiffe://example.org/service/web",
  "C=DE, CN=Bob",
].map((name) => ({ name, keys: [], plan: null, groups: ["partners"] }));

let certificates = 0;
function shown(certificate: Partial<NonNullable<TlsInfo["clientCertificate"]>> | null): TlsInfo {
  return {
    version: "TLSv1.3",
    cipher: "TLS_AES_128_GCM_SHA256",
    serverName: null,
    alpn: null,
    clientCertificate:
      certificate === null
        ? null
        : {
            subject: "",
            uris: [],
            dnsNames: [],
            fingerprint256: String(certificates++),
            ...certificate,
          },
  };
}

async function kitOf(t: { after(run: () => Promise<void>): void }, options: unknown = {}) {
  const kit = await createKit([{ use: "mtls", options }], { consumers });
  t.after(() => kit.close());
  return kit;
}

for (const [certificate, consumer] of [
  [{ uris: ["spiffe://example.org/service/web"] }, "spiffe://example.org/service/web"],
  [{ dnsNames: ["other.example.com", "alice.example.com"] }, "alice.example.com"],
  [{ subject: "C=DE, CN=Bob" }, "C=DE, CN=Bob"],
  [{ subject: "C=DE, O=Acme Inc, CN=acme" }, "acme"],
] as const) {
  test(`a certificate with ${JSON.stringify(certificate)} stands for ${consumer}`, async (t) => {
    const kit = await kitOf(t);
    const tls = shown(certificate);
    for (let i = 0; i < 2; i++) {
      const answer = await kit.request({ tls });
      assert.equal(answer.status, 200);
      assert.equal(answer.wasSync, true);
      assert.equal(answer.seen?.headers["x-weft-consumer"], consumer);
      assert.deepEqual(answer.ctx.consumer?.groups, ["partners"]);
    }
  });
}

test("no certificate, no TLS and a certificate of nobody are 401", async (t) => {
  const kit = await kitOf(t);
  for (const tls of [
    shown(null),
    shown({}),
    shown({ subject: "CN=carol", dnsNames: ["carol.example.com"] }),
    // two common names, or one inside of another attribute's value
    shown({ subject: "CN=carol, CN=acme" }),
    shown({ subject: "O=x\\, CN=acme" }),
    shown({ subject: "OCN=acme" }),
  ]) {
    const answer = await kit.request({ tls });
    assert.equal(answer.status, 401);
    assert.equal(answer.problem?.["code"], "unauthenticated");
    assert.match(answer.headers["www-authenticate"]!, /^ClientCertificate/);
  }
  assert.equal((await kit.request()).status, 401);
});

test("by chooses the names that count; names gives them a consumer", async (t) => {
  const kit = await kitOf(t, { by: ["dns"], names: { "build.example.com": "acme" } });
  const named = await kit.request({ tls: shown({ dnsNames: ["build.example.com"] }) });
  assert.equal(named.ctx.consumer?.name, "acme");
  assert.equal((await kit.request({ tls: shown({ subject: "CN=acme" }) })).status, 401);
  await assert.rejects(
    createKit([{ use: "mtls", options: { names: { x: "nobody" } } }], { consumers }),
    /there is no consumer nobody/,
  );
});

test("optional lets requests without a certificate through, not one of nobody", async (t) => {
  const kit = await kitOf(t, { optional: true });
  assert.equal((await kit.request()).status, 200);
  assert.equal((await kit.request({ tls: shown({ subject: "CN=carol" }) })).status, 401);
});
