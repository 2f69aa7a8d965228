/** The authority in a folder: what it makes, that others accept it, and what it refuses. */

import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import tls from "node:tls";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import {
  AuthorityError,
  createAuthority,
  issueCertificate,
} from "../../../control/authority/authority.ts";
import { rsa, testAuthority } from "../../support/certificates.ts";
import { describeCertificate, summarise } from "../../../control/authority/describe.ts";

const dayMs = 86_400_000;

async function folder(t: TestContext): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), "weft-authority-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

test("makes an authority whose key only its owner can read", async (t) => {
  const dir = await folder(t);
  const files = await createAuthority(path.join(dir, "ca"), "weft.local");
  const certificate = new X509Certificate(await readFile(files.cert));
  assert.equal(certificate.ca, true);
  assert.equal(certificate.subjectAltName, "URI:spiffe://weft.local");
  assert.equal(certificate.verify(certificate.publicKey), true);
  assert.equal((await stat(files.key)).mode & 0o777, 0o600);
  assert.equal((await stat(path.dirname(files.key))).mode & 0o077, 0);
  assert.deepEqual((await readdir(path.join(dir, "ca"))).sort(), ["ca.crt", "ca.key"]);
});

test("issues a certificate with a SPIFFE name, its key and the bundle", async (t) => {
  const dir = await folder(t);
  await createAuthority(dir, "corp.example");
  const nowMs = Date.now();
  const files = await issueCertificate({
    service: "orders",
    ca: dir,
    out: path.join(dir, "certs"),
    nowMs,
  });
  assert.equal(files.id, "spiffe://corp.example/service/orders");
  const leaf = new X509Certificate(await readFile(files.cert));
  const authority = new X509Certificate(await readFile(files.bundle));
  assert.equal(leaf.subjectAltName, "URI:spiffe://corp.example/service/orders");
  assert.equal(leaf.ca, false);
  assert.equal(leaf.checkIssued(authority) && leaf.verify(authority.publicKey), true);
  assert.equal(leaf.checkPrivateKey(createPrivateKey(await readFile(files.key))), true);
  assert.equal((await stat(files.key)).mode & 0o777, 0o600);
  assert.ok(Math.abs(leaf.validToDate.getTime() - (nowMs + dayMs)) < 1_000);
  assert.ok(leaf.validFromDate.getTime() < nowMs);
  assert.deepEqual((await readdir(path.join(dir, "certs"))).sort(), [
    "bundle.crt",
    "orders.crt",
    "orders.key",
  ]);
});

test("Node and OpenSSL accept a server with an issued certificate and its DNS names", async (t) => {
  const dir = await folder(t);
  await createAuthority(dir, "weft.local");
  const files = await issueCertificate({
    service: "api",
    ca: dir,
    out: dir,
    dnsNames: ["api.example.com"],
  });
  const server = tls.createServer({
    cert: await readFile(files.cert),
    key: await readFile(files.key),
  });
  server.listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const ca = await readFile(files.bundle);
  const socket = tls.connect({ port, host: "127.0.0.1", ca, servername: "api.example.com" });
  await once(socket, "secureConnect");
  assert.equal(socket.authorized, true);
  socket.destroy();
});

test("never replaces an authority, and replaces a certificate in one step", async (t) => {
  const dir = await folder(t);
  await createAuthority(dir, "weft.local");
  await assert.rejects(createAuthority(dir, "weft.local"), /ca\.crt exists already/);
  const first = await issueCertificate({ service: "orders", ca: dir, out: dir });
  const before = await readFile(first.cert, "utf8");
  await issueCertificate({ service: "orders", ca: dir, out: dir });
  assert.notEqual(await readFile(first.cert, "utf8"), before);
  assert.ok((await readdir(dir)).every((name) => !name.endsWith(".new")));
});

test("signs with an authority of one's own that names its trust domain", async (t) => {
  const algorithms = [
    rsa,
    { name: "Ed25519" },
    { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" },
  ];
  for (const algorithm of algorithms) {
    const dir = await folder(t);
    const own = await testAuthority("corp.example", algorithm);
    await writeFile(path.join(dir, "ca.crt"), own.cert);
    await writeFile(path.join(dir, "ca.key"), own.key);
    const files = await issueCertificate({ service: "a", ca: dir, out: dir, ttlMs: 60_000 });
    const leaf = new X509Certificate(await readFile(files.cert));
    const authority = new X509Certificate(own.cert);
    assert.equal(leaf.verify(authority.publicKey), true, algorithm.name);
    assert.equal(files.id, "spiffe://corp.example/service/a");
  }
});

test("refuses an authority whose files do not fit, or that names no trust domain", async (t) => {
  const dir = await folder(t);
  const issue = (): Promise<unknown> => issueCertificate({ service: "a", ca: dir, out: dir });
  await createAuthority(dir, "weft.local");
  await writeFile(path.join(dir, "ca.key"), "nonsense");
  await assert.rejects(issue(), /ca\.key: not a PEM private key/);
  await writeFile(path.join(dir, "ca.key"), (await testAuthority()).key);
  await assert.rejects(issue(), /ca\.key: the key does not belong to .*ca\.crt/);
  await writeFile(path.join(dir, "ca.crt"), "nonsense");
  await assert.rejects(issue(), /ca\.crt: not a PEM certificate/);
  const nameless = await testAuthority(null);
  await writeFile(path.join(dir, "ca.crt"), nameless.cert);
  await writeFile(path.join(dir, "ca.key"), nameless.key);
  await assert.rejects(issue(), /no SPIFFE name of a trust domain/);
});

test("refuses in words what it cannot do", async (t) => {
  const dir = await folder(t);
  await createAuthority(dir, "weft.local");
  const issue = { service: "orders", ca: dir, out: dir };
  const cases: [() => Promise<unknown>, RegExp][] = [
    [
      () => createAuthority(path.join(dir, "x"), "Not A Domain"),
      /trust domain "Not A Domain": expected a lower-case name/,
    ],
    [
      () => issueCertificate({ ...issue, service: "../../etc/passwd" }),
      /service ".*": expected letters/,
    ],
    [() => issueCertificate({ ...issue, service: "" }), /expected letters/],
    [
      () => issueCertificate({ ...issue, ca: path.join(dir, "none") }),
      /cannot read .*ca\.crt: there is no such file/,
    ],
    [() => issueCertificate({ ...issue, ttlMs: 4_000 * dayMs }), /outlive its authority/],
    [() => issueCertificate({ ...issue, ttlMs: 0 }), /more than zero/],
  ];
  for (const [attempt, message] of cases) {
    await assert.rejects(
      attempt(),
      (error: unknown) => error instanceof AuthorityError && message.test(error.message),
    );
  }
});

test("describes certificates in words", async (t) => {
  const dir = await folder(t);
  const nowMs = Date.parse("2026-11-21T12:00:00Z");
  await createAuthority(dir, "weft.local", { nowMs });
  const files = await issueCertificate({
    service: "orders",
    ca: dir,
    out: dir,
    nowMs,
    dnsNames: ["orders.test"],
  });
  const pem = await readFile(files.cert, "utf8");
  const lines = describeCertificate(pem, nowMs).split("\n");
  assert.deepEqual(lines.slice(0, 4), [
    "spiffe://weft.local/service/orders",
    "  also orders.test",
    "  valid until 2026-11-22 12:00 UTC (1 day left)",
    "  signed by weft authority of weft.local",
  ]);
  assert.match(lines[4]!, /^ {2}ECDSA prime256v1 key, sha256 [0-9A-F:]{95}$/);
  assert.match(
    describeCertificate(pem, nowMs + 2 * dayMs),
    /EXPIRED on 2026-11-22 12:00 UTC \(1 day ago\)/,
  );
  assert.match(describeCertificate(pem, nowMs - dayMs), /NOT YET VALID: from 2026-11-21 11:59 UTC/);
  const both = describeCertificate(`${pem}${await readFile(files.bundle, "utf8")}`, nowMs);
  assert.match(both, /^spiffe:\/\/weft\.local, an authority$/m);
  assert.match(both, /^ {2}signed by itself$/m);
  assert.equal(summarise(pem, nowMs)[0]!.state, "valid");
});

test("says that a file has no certificate in it", () => {
  assert.throws(() => describeCertificate("-----BEGIN PRIVATE KEY-----"), /no PEM certificate/);
  const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
  assert.throws(() => describeCertificate(broken), /certificate 1 cannot be read/);
});
