/** TLS at a listener over real sockets: names, hot swap, client certificates, deadlines, garbage. */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { before, test } from "node:test";
import tls from "node:tls";
import { handshakeLimitMs } from "../../../proxy/listen/opening.ts";
import { TlsContexts, TlsMaterialError, type TlsMaterial } from "../../../proxy/listen/tls.ts";
import {
  signed,
  testAuthority,
  type Pair,
  type TestAuthority,
} from "../../support/certificates.ts";
import { echo, ending, exchange, handshake, sendAndRead } from "./echo.ts";

let authority: TestAuthority;
let a: Pair;
let b: Pair;
let wild: Pair;

before(async () => {
  authority = await testAuthority();
  a = await signed(authority, { dns: ["a.example.com"] });
  b = await signed(authority, { dns: ["b.example.com", "B2.Example.com"] });
  wild = await signed(authority, { dns: ["*.wild.example.com"] });
});

function contexts(material: Partial<TlsMaterial> = {}): TlsContexts {
  return new TlsContexts({
    certificates: [a, b, wild],
    clientAuth: null,
    ticketKeys: null,
    ...material,
  });
}

/** The names of the certificate that is shown for this server name. */
async function shownFor(
  port: number,
  servername: string,
  options: tls.ConnectionOptions = {},
): Promise<string> {
  const socket = await handshake(port, {
    ...(servername === "" ? {} : { servername }),
    ...options,
  });
  const names = socket.getPeerX509Certificate()!.subjectAltName!;
  socket.destroy();
  return names;
}

test("shows the certificate whose name the client asked for", async (t) => {
  const { port } = await echo(t, { tls: contexts() });
  assert.equal(await shownFor(port, "a.example.com"), "DNS:a.example.com");
  assert.match(await shownFor(port, "b.example.com"), /DNS:b\.example\.com/);
  assert.match(await shownFor(port, "B2.EXAMPLE.COM"), /DNS:b\.example\.com/);
  assert.equal(await shownFor(port, "x.wild.example.com"), "DNS:*.wild.example.com");
});

test("shows the first certificate for an unknown name, for none, and for two labels under a wildcard", async (t) => {
  const { port } = await echo(t, { tls: contexts() });
  for (const name of ["other.example.org", "", "x.y.wild.example.com", "wild.example.com"]) {
    assert.equal(await shownFor(port, name), "DNS:a.example.com", name);
  }
});

test("offers an RSA and an ECDSA certificate for one name", async (t) => {
  const rsa = await signed(authority, { dns: ["b.example.com"], rsa: true });
  for (const certificates of [
    [a, b, rsa],
    [rsa, b, a],
  ]) {
    const { port } = await echo(t, { tls: contexts({ certificates }) });
    const typeFor = async (sigalgs: string): Promise<string | undefined> => {
      const socket = await handshake(port, { servername: "b.example.com", sigalgs });
      const type = socket.getPeerX509Certificate()?.publicKey.asymmetricKeyType;
      socket.destroy();
      return type;
    };
    assert.equal(await typeFor("ecdsa_secp256r1_sha256"), "ec");
    assert.equal(await typeFor("rsa_pss_rsae_sha256"), "rsa");
  }
});

test("tells what is known about the connection", async (t) => {
  const { port, served } = await echo(t, { tls: contexts() });
  const socket = await handshake(port, {
    servername: "a.example.com",
    ALPNProtocols: ["spdy/3", "http/1.1"],
  });
  assert.equal(await exchange(socket, "x"), "echo:x");
  socket.destroy();
  const [conn] = served;
  assert.equal(conn!.secure, true);
  assert.deepEqual(conn!.client.tls, {
    version: "TLSv1.3",
    cipher: "TLS_AES_256_GCM_SHA384",
    serverName: "a.example.com",
    alpn: "http/1.1",
    clientCertificate: null,
  });
});

test("a host of another certificate is misdirected, one of no certificate is not", async (t) => {
  const { port, served } = await echo(t, { tls: contexts() });
  const socket = await handshake(port, { servername: "a.example.com" });
  assert.equal(await exchange(socket, "x"), "echo:x");
  socket.destroy();
  const [conn] = served;
  const answers = [
    "a.example.com",
    "b.example.com",
    "c.wild.example.com",
    "other.org",
    "a.example.com",
  ].map((host) => conn!.misdirected(host));
  assert.deepEqual(answers, [false, true, true, false, false]);
});

test("a hot swap shows the new certificate to new connections and leaves open ones alone", async (t) => {
  const swapped = contexts();
  const { port } = await echo(t, { tls: swapped });
  const old = await handshake(port, { servername: "a.example.com" });
  const before = old.getPeerX509Certificate()!.fingerprint256;
  const next = await signed(authority, { dns: ["a.example.com"] });
  swapped.replace({ certificates: [next, b], clientAuth: null, ticketKeys: null });
  assert.equal(await exchange(old, "still here"), "echo:still here");
  const fresh = await handshake(port, { servername: "a.example.com" });
  assert.notEqual(fresh.getPeerX509Certificate()!.fingerprint256, before);
  fresh.destroy();
  assert.equal(await exchange(old, "and here"), "echo:and here");
  old.destroy();
});

test("a bad replacement is refused by name and changes nothing", async (t) => {
  const kept = contexts();
  const { port } = await echo(t, { tls: kept });
  const bad: [Partial<TlsMaterial>, readonly (string | number)[], RegExp][] = [
    [{ certificates: [] }, ["certificates"], /at least one/],
    [
      { certificates: [a, { cert: "nonsense", key: b.key }] },
      ["certificates", 1, "cert"],
      /not a PEM certificate/,
    ],
    [
      { certificates: [{ cert: a.cert, key: "nonsense" }] },
      ["certificates", 0, "key"],
      /not a PEM private key/,
    ],
    [
      { certificates: [{ cert: a.cert, key: b.key }] },
      ["certificates", 0, "key"],
      /does not belong/,
    ],
    [
      { clientAuth: { ca: "nonsense", mode: "require" } },
      ["clientAuth", "ca"],
      /not a PEM certificate/,
    ],
  ];
  for (const [material, where, message] of bad) {
    assert.throws(
      () => kept.replace({ certificates: [a], clientAuth: null, ticketKeys: null, ...material }),
      (error: unknown) =>
        error instanceof TlsMaterialError &&
        message.test(error.message) &&
        String(error.where) === String(where),
    );
  }
  assert.match(await shownFor(port, "b.example.com"), /b\.example\.com/);
});

test("workers that share ticket keys resume each other's sessions", async (t) => {
  const ticketKeys = randomBytes(48);
  const one = await echo(t, { tls: contexts({ ticketKeys }) });
  const two = await echo(t, { tls: contexts({ ticketKeys }) });
  const stranger = await echo(t, { tls: contexts({ ticketKeys: randomBytes(48) }) });
  const options = { servername: "a.example.com", ca: authority.cert, rejectUnauthorized: true };
  const first = await handshake(one.port, options);
  const [session] = (await once(first, "session")) as [Buffer];
  first.destroy();
  const resumed = async (port: number): Promise<boolean> => {
    const socket = await handshake(port, { ...options, session });
    const reused = socket.isSessionReused();
    socket.destroy();
    return reused;
  };
  assert.equal(await resumed(two.port), true);
  assert.equal(await resumed(stranger.port), false);
});

test("with new ticket keys a session from before does not resume, and one from now does", async (t) => {
  const own = contexts({ ticketKeys: randomBytes(48) });
  const { port } = await echo(t, { tls: own });
  const options = { servername: "a.example.com", ca: authority.cert, rejectUnauthorized: true };
  const session = async (): Promise<Buffer> => {
    const socket = await handshake(port, options);
    const [made] = (await once(socket, "session")) as [Buffer];
    socket.destroy();
    return made;
  };
  const resumes = async (made: Buffer): Promise<boolean> => {
    const socket = await handshake(port, { ...options, session: made });
    const reused = socket.isSessionReused();
    socket.destroy();
    return reused;
  };
  const before = await session();
  assert.equal(await resumes(before), true);
  own.useTicketKeys(randomBytes(48));
  assert.equal(await resumes(before), false);
  assert.equal(await resumes(await session()), true);
});

test("a session made without a client certificate does not resume where one is required", async (t) => {
  const ticketKeys = randomBytes(48);
  const open = await echo(t, { tls: contexts({ ticketKeys }) });
  const closed = await echo(t, {
    tls: contexts({ ticketKeys, clientAuth: { ca: authority.cert, mode: "require" } }),
  });
  const options = { servername: "a.example.com", ca: authority.cert, rejectUnauthorized: true };
  const first = await handshake(open.port, options);
  const [session] = (await once(first, "session")) as [Buffer];
  first.destroy();
  const socket = tls.connect({ port: closed.port, host: "127.0.0.1", ...options, session });
  await ending(socket);
  assert.equal(closed.served.length, 0);
  assert.deepEqual(closed.refused, ["no-certificate"]);
});

test("a required client certificate is checked, and each refusal has its word in log and count", async (t) => {
  const clientAuth = { ca: authority.cert, mode: "require" } as const;
  const { port, served, refused, log } = await echo(t, { tls: contexts({ clientAuth }) });
  const day = 86_400_000;
  const good = await signed(authority, { commonName: "alice", dns: ["alice.example.com"] });
  const cases: [Pair | null, string][] = [
    [null, "no-certificate"],
    [await signed(await testAuthority()), "unknown-authority"],
    [
      await signed(authority, { fromMs: Date.now() - 2 * day, untilMs: Date.now() - day }),
      "expired",
    ],
    [
      await signed(authority, { fromMs: Date.now() + day, untilMs: Date.now() + 2 * day }),
      "not-yet-valid",
    ],
  ];
  for (const [pair, reason] of cases) {
    const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...pair });
    await ending(socket);
    assert.equal(refused.at(-1), reason);
    assert.match(log.lines.at(-1)!, new RegExp(`refused 127.0.0.1: ${reason}`));
  }
  assert.equal(served.length, 0);
  const socket = await handshake(port, good);
  assert.equal(await exchange(socket, "x"), "echo:x");
  socket.destroy();
  const shown = served[0]!.client.tls!.clientCertificate!;
  assert.equal(shown.subject, "CN=alice");
  assert.deepEqual(shown.dnsNames, ["alice.example.com"]);
});

test("an optional client certificate may be absent but not wrong", async (t) => {
  const clientAuth = { ca: authority.cert, mode: "optional" } as const;
  const { port, served, refused } = await echo(t, { tls: contexts({ clientAuth }) });
  const without = await handshake(port);
  assert.equal(await exchange(without, "x"), "echo:x");
  without.destroy();
  assert.equal(served[0]!.client.tls!.clientCertificate, null);
  const wrong = tls.connect({
    port,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    ...(await signed(await testAuthority())),
  });
  await ending(wrong);
  assert.deepEqual(refused, ["unknown-authority"]);
});

test("answers plain HTTP on a TLS port in words", async (t) => {
  const { port, served } = await echo(t, { tls: contexts() });
  const answer = await sendAndRead(port, "GET / HTTP/1.1\r\nhost: a.example.com\r\n\r\n");
  assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/);
  assert.match(answer, /plain HTTP on a TLS port/);
  assert.equal(served.length, 0);
});

test("garbage on a TLS port ends that connection and nothing else", async (t) => {
  const state = await echo(t, { tls: contexts() });
  const beginnings = [
    "\x16",
    "\x16\x03\x01\x02\x00\x01\x00",
    "\x16\x03\x01\x00\x05\x01\xff\xff\xff\x00",
    "\x00\x00\x00\x00",
    "\x80\x2e\x01\x03\x01",
    "\xff".repeat(4_096),
  ];
  for (const start of beginnings) {
    const bytes = Buffer.from(start + "\x01garbage".repeat(50), "latin1");
    assert.doesNotMatch(await sendAndRead(state.port, bytes), /echo/);
  }
  while (state.listener.connections > 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(state.counted, 0);
  assert.equal(await shownFor(state.port, "a.example.com"), "DNS:a.example.com");
});

test("a partial ClientHello is cut at the handshake deadline", async (t) => {
  const { port, clock, log } = await echo(t, { tls: contexts() });
  const socket = net.connect(port, "127.0.0.1");
  await once(socket, "connect");
  // a record that promises 512 bytes and brings one
  socket.write(Buffer.from("160301020001", "hex"));
  while (clock.wheel.size === 0) await new Promise((resolve) => setImmediate(resolve));
  clock.pass(handshakeLimitMs - 100);
  assert.equal(socket.readyState, "open");
  clock.pass(200);
  await ending(socket);
  assert.match(log.lines.join("\n"), /timeout: .* took longer than 10000 ms/);
  assert.equal(clock.wheel.size, 0);
});

test("a client that says hello and nothing more is cut at the same deadline", async (t) => {
  const { port, clock, log } = await echo(t, { tls: contexts() });
  const socket = await silentAfterHello(port);
  clock.pass(handshakeLimitMs + 20);
  await ending(socket);
  assert.match(log.lines.join("\n"), /timeout: the TLS handshake took longer than 10000 ms/);
});

/** A raw connection that has sent a whole ClientHello and got the server's first flight. */
async function silentAfterHello(port: number): Promise<net.Socket> {
  const recorder = net.createServer().listen(0, "127.0.0.1");
  await once(recorder, "listening");
  const client = tls.connect({
    port: (recorder.address() as net.AddressInfo).port,
    host: "127.0.0.1",
  });
  client.on("error", () => {});
  const [recorded] = (await once(recorder, "connection")) as [net.Socket];
  const [hello] = (await once(recorded, "data")) as [Buffer];
  client.destroy();
  recorder.close();
  const socket = net.connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(hello);
  await once(socket, "data");
  return socket;
}

test("a silent connection is cut at the same deadline, and a client that leaves disarms it", async (t) => {
  const { port, clock } = await echo(t, { tls: contexts() });
  const silent = net.connect(port, "127.0.0.1");
  await once(silent, "connect");
  while (clock.wheel.size === 0) await new Promise((resolve) => setImmediate(resolve));
  clock.pass(handshakeLimitMs + 20);
  await ending(silent);
  const leaver = net.connect(port, "127.0.0.1");
  await once(leaver, "connect");
  while (clock.wheel.size === 0) await new Promise((resolve) => setImmediate(resolve));
  leaver.destroy();
  while (clock.wheel.size > 0) await new Promise((resolve) => setImmediate(resolve));
});

test("refuses TLS below 1.2 and a client that wants to renegotiate", async (t) => {
  const { port } = await echo(t, { tls: contexts() });
  const old = tls.connect({
    port,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    minVersion: "TLSv1.1",
    maxVersion: "TLSv1.1",
    ciphers: "DEFAULT:@SECLEVEL=0",
  });
  assert.match(await ending(old), /ALERT|PROTOCOL|UNSUPPORTED/);
  const socket = await handshake(port, { maxVersion: "TLSv1.2" });
  assert.equal(socket.getProtocol(), "TLSv1.2");
  const refused = await new Promise<Error | null>((resolve) => {
    socket.once("error", resolve);
    if (!socket.renegotiate({}, resolve)) resolve(new Error("not started"));
  });
  assert.ok(refused instanceof Error);
  socket.destroy();
});

test("reads a PROXY header before TLS", async (t) => {
  const { port, served } = await echo(t, { tls: contexts(), proxyProtocol: true });
  const raw = net.connect(port, "127.0.0.1");
  await once(raw, "connect");
  raw.write("PROXY TCP4 192.0.2.9 198.51.100.2 4242 443\r\n");
  const socket = tls.connect({
    socket: raw,
    servername: "b.example.com",
    rejectUnauthorized: false,
  });
  await once(socket, "secureConnect");
  assert.equal(await exchange(socket, "x"), "echo:x");
  assert.equal(served[0]!.client.address, "192.0.2.9");
  assert.equal(served[0]!.client.tls!.serverName, "b.example.com");
  socket.destroy();
});

test("large answers and requests pass TLS unharmed", async (t) => {
  const { port } = await echo(t, { tls: contexts() });
  const socket = await handshake(port);
  const sent = randomBytes(1_000_000).toString("latin1");
  let back = "";
  socket.on("data", (chunk: Buffer) => (back += chunk.toString("latin1")));
  socket.end(sent, "latin1");
  await once(socket, "end");
  assert.equal(back.replaceAll("echo:", ""), sent.replaceAll("echo:", ""));
});

test("a client that resets or leaves at any point of the handshake costs nothing but its connection", async (t) => {
  const clientAuth = { ca: authority.cert, mode: "require" } as const;
  const state = await echo(t, { tls: contexts({ clientAuth }) });
  const pair = await signed(authority);
  for (const ending of ["reset", "end"] as const) {
    for (let after = 1; after < 2_400; after += 97) await cutAfter(state.port, pair, after, ending);
  }
  while (state.listener.connections > 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(state.counted, 0);
  assert.equal(state.clock.wheel.size, 0);
  const socket = await handshake(state.port, pair);
  assert.equal(await exchange(socket, "x"), "echo:x");
  socket.destroy();
});

test("a client that resets while its answer is being written is let go", async (t) => {
  const state = await echo(t, { tls: contexts() });
  for (let i = 0; i < 20; i++) {
    const raw = net.connect(state.port, "127.0.0.1");
    const client = tls.connect({ socket: raw, rejectUnauthorized: false });
    client.on("error", () => {});
    raw.on("error", () => {});
    await once(client, "secureConnect");
    client.write("hello", () => raw.resetAndDestroy());
    await once(raw, "close");
  }
  while (state.listener.connections > 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(state.counted, 0);
});

/** A real client whose bytes stop after `after` of them, with a reset or an end. */
async function cutAfter(
  port: number,
  pair: Pair,
  after: number,
  ending: "reset" | "end",
): Promise<void> {
  const toServer = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  toServer.on("error", () => {});
  let left = after;
  const relay = net.createServer((fromClient) => {
    fromClient.on("error", () => {});
    toServer.on("data", (chunk: Buffer) => fromClient.write(chunk));
    toServer.on("close", () => fromClient.destroy());
    fromClient.on("data", (chunk: Buffer) => {
      if (left <= 0) return;
      const part = chunk.subarray(0, left);
      left -= part.length;
      toServer.write(part, () => {
        if (left > 0) return;
        if (ending === "reset") toServer.resetAndDestroy();
        else toServer.end();
      });
    });
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  const { port: relayPort } = relay.address() as net.AddressInfo;
  const client = tls.connect({
    port: relayPort,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    ...pair,
  });
  client.on("error", () => {});
  client.on("secureConnect", () => client.end("hello"));
  client.resume();
  toServer.on("end", () => toServer.destroy());
  await once(toServer, "close");
  client.destroy();
  relay.close();
}

test("destroying the listener cuts handshakes under way", async (t) => {
  const { port, listener, clock } = await echo(t, { tls: contexts() });
  const halves = await Promise.all([silentAfterHello(port), silentAfterHello(port)]);
  const open = await handshake(port);
  assert.equal(listener.connections, 3);
  listener.destroy();
  await Promise.all([...halves, open].map((socket) => ending(socket)));
  while (listener.connections > 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(clock.wheel.size, 0);
});
