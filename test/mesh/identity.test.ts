/** Mesh identity over real sockets: who is let in, who is called, and every reason to refuse, on both sides. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { before, test, type TestContext } from "node:test";
import tls from "node:tls";
import { IdentityError, MeshIdentity, type IdentityMaterial } from "../../mesh/identity.ts";
import { inboundListener } from "../../mesh/inbound/listen.ts";
import { serviceId } from "../../mesh/spiffe.ts";
import type { ProxyError } from "../../proxy/errors.ts";
import type { Transport } from "../../proxy/listen/transport.ts";
import { createDial, dialKey } from "../../proxy/upstream/connect.ts";
import {
  signed,
  testAuthority,
  type CertificateWish,
  type Pair,
  type TestAuthority,
} from "../support/certificates.ts";
import {
  echo,
  ending,
  exchange,
  keptLog,
  sendAndRead,
  TestClock,
  type Echo,
} from "../proxy/listen/echo.ts";

const domain = "weft.local";
const dayMs = 86_400_000;
let authority: TestAuthority;
let otherDomain: TestAuthority;

before(async () => {
  authority = await testAuthority(domain);
  otherDomain = await testAuthority("other.domain");
});

async function material(
  service: string,
  by = authority,
  wish: CertificateWish = {},
): Promise<IdentityMaterial> {
  const pair = await signed(by, { uris: [serviceId(domain, service)], ...wish });
  return { ...pair, bundle: `${authority.cert}\n${otherDomain.cert}\n` };
}

interface Kept {
  readonly identity: MeshIdentity;
  readonly refused: string[];
  readonly log: ReturnType<typeof keptLog>;
}

async function identityOf(
  service: string,
  files?: IdentityMaterial,
  otherDomains: string[] = [],
): Promise<Kept> {
  const refused: string[] = [];
  const log = keptLog();
  const identity = new MeshIdentity(files ?? (await material(service)), {
    service,
    trustDomain: domain,
    otherDomains,
    ticketKeys: null,
    log,
    refused: (reason) => void refused.push(reason),
    wallNow: () => Date.now(),
  });
  return { identity, refused, log };
}

/** The inbound side of `orders`. */
async function inbound(
  t: TestContext,
  mtls: "strict" | "permissive" = "strict",
  otherDomains: string[] = [],
): Promise<Echo & { identity: MeshIdentity }> {
  const { identity } = await identityOf("orders", undefined, otherDomains);
  const { port: _port, ...spec } = inboundListener({ host: "127.0.0.1", port: 0 }, identity, mtls);
  return Object.assign(await echo(t, { ...spec, reusePort: false }), { identity });
}

/** Dials with an identity; the connection, or the error that was given. */
function call(
  from: MeshIdentity,
  port: number,
  expected = "orders",
): Promise<Transport | ProxyError> {
  const clock = new TestClock();
  const dial = createDial({ wheel: clock.wheel, now: () => clock.ms });
  const target = {
    host: "127.0.0.1",
    port,
    tls: { kind: "mesh", identity: from, expectedId: serviceId(domain, expected) } as const,
  };
  return new Promise((resolve) => {
    dial({ ...target, key: dialKey(target) }, { timeoutMs: 5_000 }, (error, transport) =>
      resolve(error ?? transport!),
    );
  });
}

function ask(transport: Transport, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    transport.handler = {
      onData: (chunk) => resolve(chunk.toString("latin1")),
      onEnd() {},
      onDrain() {},
      onClose: (error) => reject(error ?? new Error("closed")),
    };
    transport.resume();
    transport.write(text);
  });
}

test("two peers prove who they are to each other, over TLS 1.3", async (t) => {
  const { port, served } = await inbound(t);
  const { identity } = await identityOf("web");
  const transport = await call(identity, port);
  assert.ok("socket" in transport);
  assert.equal(await ask(transport, "hello"), "echo:hello");
  assert.deepEqual(served[0]!.peer, {
    id: "spiffe://weft.local/service/web",
    trustDomain: domain,
    service: "web",
  });
  assert.equal(served[0]!.client.tls!.version, "TLSv1.3");
  assert.equal(served[0]!.client.tls!.alpn, "http/1.1");
  transport.destroy();
});

test("checks the peer again on every connection", async (t) => {
  const { port, identity: callee } = await inbound(t);
  const { identity, refused } = await identityOf("web");
  const first = await call(identity, port);
  assert.ok("socket" in first);
  assert.equal(await ask(first, "x"), "echo:x");
  first.destroy();
  // the same address, now with somebody else's certificate
  Object.assign(callee, { loaded: (await identityOf("impostor")).identity["loaded" as never] });
  const second = await call(identity, port);
  assert.ok(second instanceof Error);
  assert.deepEqual(refused, ["wrong-name"]);
});

test("the callee refuses each wrong caller with its reason in log and count", async (t) => {
  const { port, served, refused, log } = await inbound(t);
  const web = serviceId(domain, "web");
  const cases: [string, Pair | null][] = [
    ["no-certificate", null],
    ["unknown-authority", await signed(await testAuthority(), { uris: [web] })],
    [
      "expired",
      await signed(authority, {
        uris: [web],
        fromMs: Date.now() - 2 * dayMs,
        untilMs: Date.now() - dayMs,
      }),
    ],
    [
      "not-yet-valid",
      await signed(authority, {
        uris: [web],
        fromMs: Date.now() + dayMs,
        untilMs: Date.now() + 2 * dayMs,
      }),
    ],
    ["several-names", await signed(authority, { uris: [web, serviceId(domain, "batch")] })],
    ["wrong-domain", await signed(otherDomain, { uris: [serviceId("other.domain", "web")] })],
    ["wrong-name", await signed(authority, { uris: ["https://weft.local/service/web"] })],
    ["wrong-name", await signed(authority, { dns: ["web.weft.local"] })],
  ];
  for (const [reason, pair] of cases) {
    const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...pair });
    await ending(socket);
    assert.equal(refused.at(-1), reason, reason);
    assert.match(
      log.lines.at(-1)!,
      new RegExp(`^listener inbound: refused 127\\.0\\.0\\.1: ${reason}: `),
    );
  }
  const answer = await sendAndRead(port, "GET / HTTP/1.1\r\nhost: orders\r\n\r\n");
  assert.match(answer, /^HTTP\/1\.1 400 .*plain HTTP on a TLS port/s);
  assert.equal(refused.at(-1), "plain-text");
  assert.equal(served.length, 0);
  assert.equal(refused.length, cases.length + 1);
});

test("the caller refuses each wrong callee with its reason in log, count and error", async (t) => {
  const orders = serviceId(domain, "orders");
  const cases: [string, Pair][] = [
    ["unknown-authority", await signed(await testAuthority(), { uris: [orders] })],
    [
      "expired",
      await signed(authority, {
        uris: [orders],
        fromMs: Date.now() - 2 * dayMs,
        untilMs: Date.now() - dayMs,
      }),
    ],
    [
      "not-yet-valid",
      await signed(authority, {
        uris: [orders],
        fromMs: Date.now() + dayMs,
        untilMs: Date.now() + 2 * dayMs,
      }),
    ],
    ["several-names", await signed(authority, { uris: [orders, serviceId(domain, "web")] })],
    ["wrong-domain", await signed(otherDomain, { uris: [serviceId("other.domain", "orders")] })],
    ["wrong-name", await signed(authority, { uris: [serviceId(domain, "payments")] })],
    ["wrong-name", await signed(authority, { dns: ["orders"] })],
  ];
  for (const [reason, pair] of cases) {
    const server = tls
      .createServer({ ...pair, ALPNProtocols: ["http/1.1"] })
      .listen(0, "127.0.0.1");
    t.after(() => server.close());
    server.on("secureConnection", (socket) => socket.on("error", () => {}).resume());
    await once(server, "listening");
    const { identity, refused, log } = await identityOf("web");
    const error = await call(identity, (server.address() as net.AddressInfo).port);
    assert.ok(error instanceof Error && "code" in error, reason);
    assert.equal(error.code, "upstream-tls");
    assert.equal((error as ProxyError).retryable, true);
    assert.match(
      error.message,
      new RegExp(`^connect 127\\.0\\.0\\.1:\\d+: peer refused: ${reason}: `),
    );
    assert.deepEqual(refused, [reason]);
    assert.match(
      log.lines[0]!,
      new RegExp(`^mesh: refused peer 127\\.0\\.0\\.1:\\d+: ${reason}: `),
    );
  }
});

test("the caller says plain-text when the callee does not speak TLS", async (t) => {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
  });
  server.listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const { identity, refused } = await identityOf("web");
  const error = await call(identity, (server.address() as net.AddressInfo).port);
  assert.ok(error instanceof Error);
  assert.match(error.message, /peer refused: plain-text/);
  assert.deepEqual(refused, ["plain-text"]);
});

test("an authority speaks for its own trust domain only", async (t) => {
  const { port, refused } = await inbound(t);
  const forged = await signed(otherDomain, { uris: [serviceId(domain, "web")] });
  await ending(tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...forged }));
  assert.deepEqual(refused, ["wrong-domain"]);
});

test("a trust domain that access rules name is let in when the bundle has its authority", async (t) => {
  const { port, served } = await inbound(t, "strict", ["other.domain"]);
  const pair = await signed(otherDomain, { uris: ["spiffe://other.domain/service/x"] });
  const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...pair });
  await once(socket, "secureConnect");
  assert.equal(await exchange(socket, "x"), "echo:x");
  assert.equal(served[0]!.peer!.id, "spiffe://other.domain/service/x");
  socket.destroy();
});

test("permissive takes plain text as nobody, and still checks who comes with TLS", async (t) => {
  const { port, served, refused } = await inbound(t, "permissive");
  assert.equal(await sendAndRead(port, "GET / HTTP/1.1\r\n\r\n"), "echo:GET / HTTP/1.1\r\n\r\n");
  assert.equal(served[0]!.peer, null);
  assert.equal(served[0]!.secure, false);
  await ending(tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false }));
  assert.deepEqual(refused, ["no-certificate"]);
  const { identity } = await identityOf("web");
  const transport = await call(identity, port);
  assert.ok("socket" in transport);
  assert.equal(await ask(transport, "x"), "echo:x");
  assert.equal(served.at(-1)!.peer!.service, "web");
  transport.destroy();
});

test("strict takes nothing below TLS 1.3", async (t) => {
  const { port, served } = await inbound(t);
  const pair = await material("web");
  const socket = tls.connect({
    port,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    maxVersion: "TLSv1.2",
    ...pair,
  });
  assert.match(await ending(socket), /PROTOCOL_VERSION|ALERT/i);
  assert.equal(served.length, 0);
});

test("a rotated certificate is used for new connections and leaves open ones alone", async (t) => {
  const { port, identity: callee, served } = await inbound(t);
  const { identity: caller } = await identityOf("web");
  const old = await call(caller, port);
  assert.ok("socket" in old);
  assert.equal(await ask(old, "a"), "echo:a");
  const before = caller.leaf.fingerprint256;
  caller.replace(await material("web"));
  callee.replace(await material("orders"));
  assert.notEqual(caller.leaf.fingerprint256, before);
  const fresh = await call(caller, port);
  assert.ok("socket" in fresh);
  assert.equal(await ask(fresh, "b"), "echo:b");
  assert.equal(await ask(old, "c"), "echo:c");
  const shown = served.map((conn) => conn.client.tls!.clientCertificate!.fingerprint256);
  assert.equal(shown[0], before);
  assert.equal(shown[1], caller.leaf.fingerprint256);
  old.destroy();
  fresh.destroy();
});

test("a bundle without the old authority refuses its peers from the next connection on", async (t) => {
  const { port, identity: callee, refused } = await inbound(t);
  const { identity: caller } = await identityOf("web");
  const next = await testAuthority(domain);
  const rotated = await signed(next, { uris: [serviceId(domain, "orders")] });
  callee.replace({ ...rotated, bundle: next.cert });
  const error = await call(caller, port);
  assert.ok(error instanceof Error);
  const raw = tls.connect({
    port,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    ...(await material("web")),
  });
  await ending(raw);
  assert.equal(refused.at(-1), "unknown-authority");
});

test("names the file that cannot be used, and keeps the identity it has", async () => {
  const good = await material("orders");
  const { identity } = await identityOf("orders", good);
  const before = identity.leaf.fingerprint256;
  const cases: [Partial<IdentityMaterial>, string, RegExp][] = [
    [{ cert: "nonsense" }, "cert", /no PEM certificate/],
    [{ key: "nonsense" }, "key", /not a PEM private key/],
    [{ bundle: "" }, "bundle", /no PEM certificate/],
    [{ key: (await material("orders")).key }, "key", /does not belong/],
    [
      await material("web"),
      "cert",
      /wrong-name: it is spiffe:\/\/weft\.local\/service\/web, expected .*orders/,
    ],
    [{ bundle: otherDomain.cert }, "cert", /unknown-authority/],
    [await material("orders", otherDomain), "cert", /wrong-domain/],
  ];
  for (const [part, file, message] of cases) {
    assert.throws(
      () => identity.replace({ ...good, ...part }),
      (error: unknown) =>
        error instanceof IdentityError && error.file === file && message.test(error.message),
      String(message),
    );
  }
  assert.equal(identity.leaf.fingerprint256, before);
});

test("starts with an expired certificate and says so", async () => {
  const files = await material("orders", authority, {
    fromMs: Date.now() - 2 * dayMs,
    untilMs: Date.now() - dayMs,
  });
  const { log } = await identityOf("orders", files);
  assert.match(log.lines[0]!, /our certificate expired/);
});
