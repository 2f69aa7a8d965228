/** Dialling over real sockets: what connects, what fails, and in which words. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { before, test, type TestContext } from "node:test";
import tls from "node:tls";
import type { ProxyError } from "../../../proxy/errors.ts";
import type { Transport } from "../../../proxy/listen/transport.ts";
import {
  createDial,
  dialKey,
  upstreamTls,
  type DialTarget,
} from "../../../proxy/upstream/connect.ts";
import { Resolver, type Address } from "../../../proxy/upstream/resolve.ts";
import { signed, testAuthority, type TestAuthority } from "../../support/certificates.ts";
import { echo, TestClock } from "../listen/echo.ts";

let authority: TestAuthority;

before(async () => {
  authority = await testAuthority(null);
});

type Opened = { readonly error: ProxyError | null; readonly transport: Transport | null };

function target(port: number, more: Partial<DialTarget> = {}): DialTarget {
  const plain = { host: "127.0.0.1", port, tls: null, ...more };
  return { key: dialKey(plain), ...plain };
}

function dialOnce(to: DialTarget, resolver?: Resolver): Promise<Opened> {
  const clock = new TestClock();
  const dial = createDial({
    wheel: clock.wheel,
    now: () => clock.ms,
    ...(resolver === undefined ? {} : { resolver }),
  });
  return new Promise((resolve) => {
    dial(to, { timeoutMs: 5_000 }, (error, transport) => {
      assert.equal(clock.wheel.size, 0, "the time limit is disarmed");
      resolve({ error, transport });
    });
  });
}

async function ask(transport: Transport, text: string): Promise<string> {
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

async function tlsServer(
  t: TestContext,
  options: tls.TlsOptions,
): Promise<{ port: number; names: (string | false)[] }> {
  const server = tls.createServer({ allowHalfOpen: true, ...options }).listen(0, "127.0.0.1");
  t.after(() => server.close());
  const names: (string | false)[] = [];
  server.on("secureConnection", (socket) => {
    names.push(socket.servername as string | false);
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => socket.write(`echo:${chunk.toString("latin1")}`));
    socket.on("end", () => socket.end());
  });
  server.on("tlsClientError", () => {});
  await once(server, "listening");
  return { port: (server.address() as net.AddressInfo).port, names };
}

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

test("connects over plain TCP", async (t) => {
  const { port } = await echo(t);
  const { transport } = await dialOnce(target(port));
  assert.equal(await ask(transport!, "hi"), "echo:hi");
  transport!.destroy();
});

test("localhost is this machine, and the next address is tried when one refuses", async (t) => {
  const { port } = await echo(t);
  const never = { lookup: () => assert.fail("asked"), ttl: () => assert.fail("asked") };
  const { transport } = await dialOnce(
    target(port, { host: "LocalHost" }),
    new Resolver({ source: never }),
  );
  transport!.destroy();
  const addresses: Address[] = [
    { address: "::1", family: 6 },
    { address: "127.0.0.1", family: 4 },
  ];
  const source = {
    lookup: (_host: string, done: (error: null, found: Address[]) => void) => done(null, addresses),
    ttl: (_host: string, done: (seconds: null) => void) => done(null),
  };
  const second = await dialOnce(target(port, { host: "two.test" }), new Resolver({ source }));
  assert.equal(await ask(second.transport!, "hi"), "echo:hi");
  second.transport!.destroy();
});

test("says that a connection was refused, and that another try is safe", async () => {
  const port = await freePort();
  const { error } = await dialOnce(target(port));
  assert.equal(error!.code, "connect-refused");
  assert.equal(error!.message, `connect 127.0.0.1:${port}: refused`);
  assert.equal(error!.retryable, true);
  const six = await dialOnce(target(port, { host: "::1" }));
  assert.match(six.error!.message, new RegExp(`^connect \\[::1\\]:${port}: `));
});

test("says that a name has no address", async () => {
  const source = {
    lookup: (_host: string, done: (error: NodeJS.ErrnoException, found: []) => void) =>
      done(Object.assign(new Error("no"), { code: "ENOTFOUND" }), []),
    ttl: () => assert.fail("asked"),
  };
  const { error } = await dialOnce(target(80, { host: "gone.test" }), new Resolver({ source }));
  assert.equal(error!.code, "connect-refused");
  assert.equal(error!.message, "connect gone.test:80: the name has no address");
});

test("one time limit covers name, TCP and TLS, and says which was too slow", async (t) => {
  const silent = net.createServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1");
  t.after(() => silent.close());
  await once(silent, "listening");
  const { port } = silent.address() as net.AddressInfo;
  const clock = new TestClock();
  const stuck = new Resolver({ source: { lookup() {}, ttl() {} } });
  const slowName = new Promise<ProxyError | null>((resolve) => {
    const dial = createDial({ wheel: clock.wheel, now: () => clock.ms, resolver: stuck });
    dial(target(80, { host: "slow.test" }), { timeoutMs: 250 }, resolve);
  });
  clock.pass(260);
  assert.equal(
    (await slowName)!.message,
    "connect slow.test:80: name lookup timed out after 250 ms",
  );
  const slowTls = new Promise<ProxyError | null>((resolve) => {
    const dial = createDial({ wheel: clock.wheel, now: () => clock.ms });
    dial(
      target(port, { tls: upstreamTls({ ca: null, serverName: null }) }),
      { timeoutMs: 250 },
      resolve,
    );
  });
  const [socket] = (await once(silent, "connection")) as [net.Socket];
  await once(socket, "data");
  clock.pass(260);
  const error = await slowTls;
  assert.equal(error!.code, "connect-timeout");
  assert.equal(error!.message, `connect 127.0.0.1:${port}: TLS handshake timed out after 250 ms`);
  await once(socket, "close");
  assert.equal(clock.wheel.size, 0);
});

test("a cancelled call connects to nobody and says nothing", async (t) => {
  const { port, listener } = await echo(t);
  const clock = new TestClock();
  const dial = createDial({ wheel: clock.wheel, now: () => clock.ms });
  dial(target(port), { timeoutMs: 1_000 }, () => assert.fail("called")).cancel();
  assert.equal(clock.wheel.size, 0);
  clock.pass(2_000);
  const { transport } = await dialOnce(target(port));
  assert.equal(await ask(transport!, "x"), "echo:x");
  transport!.destroy();
  while (listener.connections > 0) await new Promise((resolve) => setImmediate(resolve));
});

test("speaks TLS to a name that the given authority vouches for", async (t) => {
  const pair = await signed(authority, { dns: ["orders.internal"] });
  const { port, names } = await tlsServer(t, pair);
  const secure = upstreamTls({ ca: authority.cert, serverName: "orders.internal" });
  const { transport } = await dialOnce(target(port, { tls: secure }));
  assert.equal(await ask(transport!, "hi"), "echo:hi");
  assert.deepEqual(names, ["orders.internal"]);
  transport!.destroy();
});

test("resumes a TLS session on the next connection to the same service, and never with another trust", async (t) => {
  const pair = await signed(authority, { dns: ["orders.internal"] });
  const { port } = await tlsServer(t, pair);
  const secure = upstreamTls({ ca: authority.cert, serverName: "orders.internal" });
  const reused = async (to: DialTarget): Promise<boolean> => {
    const { transport } = await dialOnce(to);
    const socket = transport!.socket as tls.TLSSocket;
    const answer = await ask(transport!, "x");
    assert.equal(answer, "echo:x");
    const was = socket.isSessionReused();
    transport!.destroy();
    return was;
  };
  assert.equal(await reused(target(port, { tls: secure })), false);
  assert.equal(await reused(target(port, { tls: secure })), true);
  const other = upstreamTls({ ca: authority.cert, serverName: "orders.internal" });
  assert.equal(await reused(target(port, { tls: other })), false);
});

test("says in words why TLS failed", async (t) => {
  const day = 86_400_000;
  const trusted = upstreamTls({ ca: authority.cert, serverName: "orders.internal" });
  const dns = ["orders.internal"];
  const cases: [string, tls.TlsOptions, RegExp][] = [
    [
      "another authority",
      await signed(await testAuthority(), { dns }),
      /authority that is not trusted/,
    ],
    [
      "expired",
      await signed(authority, { dns, fromMs: Date.now() - 2 * day, untilMs: Date.now() - day }),
      /has expired/,
    ],
    [
      "too early",
      await signed(authority, { dns, fromMs: Date.now() + day, untilMs: Date.now() + 2 * day }),
      /not valid yet/,
    ],
    [
      "another name",
      await signed(authority, { dns: ["else.internal"] }),
      /is for other names: .*else\.internal/,
    ],
    [
      "an old protocol",
      {
        ...(await signed(authority, { dns })),
        minVersion: "TLSv1",
        maxVersion: "TLSv1.1",
        ciphers: "DEFAULT:@SECLEVEL=0",
      },
      /version|protocol/i,
    ],
  ];
  for (const [what, options, words] of cases) {
    const { port } = await tlsServer(t, options);
    const { error, transport } = await dialOnce(target(port, { tls: trusted }));
    assert.equal(transport, null, what);
    assert.equal(error!.code, "upstream-tls", what);
    assert.match(error!.message, new RegExp(`^connect 127\\.0\\.0\\.1:${port}: TLS: `), what);
    assert.match(error!.message, words, what);
  }
});

test("says that a port does not speak TLS", async (t) => {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  });
  server.listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const { error } = await dialOnce(
    target(port, { tls: upstreamTls({ ca: null, serverName: null }) }),
  );
  assert.equal(
    error!.message,
    `connect 127.0.0.1:${port}: TLS: it does not speak TLS on this port`,
  );
});

test("an endpoint that hangs up in the handshake is a TLS failure", async (t) => {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const { error } = await dialOnce(
    target(port, { tls: upstreamTls({ ca: null, serverName: null }) }),
  );
  assert.equal(error!.code, "upstream-tls");
  assert.match(error!.message, /closed during the handshake/);
});

test("different ways to the same address never share a pool", () => {
  const secure = upstreamTls({ ca: null, serverName: "a" });
  const keys = [
    dialKey({ host: "a", port: 1, tls: null }),
    dialKey({ host: "a", port: 11, tls: null }),
    dialKey({ host: "a1", port: 1, tls: null }),
    dialKey({ host: "a", port: 1, tls: secure }),
    dialKey({ host: "a", port: 1, tls: { ...secure, serverName: "b" } }),
    dialKey({ host: "a", port: 1, tls: { kind: "mesh", identity: {} as never, expectedId: "b" } }),
  ];
  assert.equal(new Set(keys).size, keys.length);
});
