/** The listener over real sockets: plain connections, PROXY headers, limits, drain, and hostile beginnings. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { Listener } from "../../../proxy/listen/listener.ts";
import { handshakeLimitMs } from "../../../proxy/listen/opening.ts";
import { ending, echo, exchange, sendAndRead } from "./echo.ts";

async function connect(port: number): Promise<net.Socket> {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

test("serves a plain connection and answers a client that half-closes", async (t) => {
  const { port, served } = await echo(t);
  assert.equal(await sendAndRead(port, "hello"), "echo:hello");
  assert.equal(served[0]!.client.address, "127.0.0.1");
  assert.equal(served[0]!.client.tls, null);
  assert.equal(served[0]!.secure, false);
  assert.equal(served[0]!.listener, "test");
});

test("shows an IPv4 caller on an IPv6 socket as IPv4", async (t) => {
  const { port, served } = await echo(t, { host: null });
  assert.equal(await sendAndRead(port, "x"), "echo:x");
  assert.equal(served[0]!.client.address, "127.0.0.1");
});

test("takes the caller from a PROXY header and serves what follows it in the same packet", async (t) => {
  const { port, served } = await echo(t, { proxyProtocol: true });
  const line = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
  assert.equal(await sendAndRead(port, `${line}hello`), "echo:hello");
  assert.deepEqual(served[0]!.client, {
    address: "192.0.2.1",
    port: 56324,
    socketAddress: "127.0.0.1",
    tls: null,
  });
});

test("puts a PROXY header together from single bytes", async (t) => {
  const { port, served } = await echo(t, { proxyProtocol: true });
  const socket = await connect(port);
  socket.setNoDelay(true);
  for (const byte of "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n") {
    await new Promise<void>((resolve) => void socket.write(byte, () => resolve()));
  }
  assert.equal(await exchange(socket, "hi"), "echo:hi");
  assert.equal(served[0]!.client.address, "192.0.2.1");
  socket.destroy();
});

test("closes a connection that does not start with the PROXY header it needs", async (t) => {
  const { port, served, log } = await echo(t, { proxyProtocol: true });
  assert.equal(await sendAndRead(port, "GET / HTTP/1.1\r\n\r\n"), "");
  assert.equal(served.length, 0);
  assert.match(log.lines.join("\n"), /proxy-protocol: it does not start with a PROXY header/);
});

test("does not wait for ever for a PROXY header", async (t) => {
  const { port, clock, log } = await echo(t, { proxyProtocol: true });
  const socket = await connect(port);
  socket.write("PROXY TCP4 192");
  while (clock.wheel.size === 0) await new Promise((resolve) => setImmediate(resolve));
  clock.pass(handshakeLimitMs + 20);
  await ending(socket);
  assert.match(log.lines.join("\n"), /took longer than 10000 ms/);
  assert.equal(clock.wheel.size, 0);
});

test("takes no more connections than it may, and goes on when one has left", async (t) => {
  let open = 0;
  const { port } = await echo(
    t,
    {},
    {
      admit: () => open < 1 && ++open > 0,
      release: () => void open--,
    },
  );
  const first = await connect(port);
  assert.equal(await exchange(first, "a"), "echo:a");
  const second = net.connect({ port, host: "127.0.0.1" });
  assert.match(await ending(second), /ECONNRESET|closed/);
  first.end();
  await once(first, "close");
  while (open > 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await sendAndRead(port, "c"), "echo:c");
});

test("gives back every connection that it counted", async (t) => {
  const state = await echo(t);
  for (let i = 0; i < 20; i++) await sendAndRead(state.port, "x");
  const cut = await connect(state.port);
  cut.resetAndDestroy();
  while (state.listener.connections > 0) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(state.counted, 0);
});

test("draining stops accepting and ends when the last connection has", async (t) => {
  const { listener, port } = await echo(t);
  const socket = await connect(port);
  assert.equal(await exchange(socket, "a"), "echo:a");
  const drained = listener.drain();
  await once(socket, "end");
  socket.end();
  await drained;
  assert.equal(listener.connections, 0);
  const late = net.connect(port, "127.0.0.1");
  const [error] = (await once(late, "error")) as [NodeJS.ErrnoException];
  assert.equal(error.code, "ECONNREFUSED");
});

test("destroying cuts open connections at once", async (t) => {
  const { listener, port } = await echo(t);
  const socket = await connect(port);
  assert.equal(await exchange(socket, "a"), "echo:a");
  listener.destroy();
  await ending(socket);
});

test("names the address and the reason when it cannot listen", async (t) => {
  const taken = await echo(t);
  const spec = { ...taken.listener.spec, port: taken.port };
  const second = new Listener(spec, {} as never);
  await assert.rejects(second.listen(), {
    name: "ListenError",
    code: "EADDRINUSE",
    message: `listen on 127.0.0.1:${taken.port} (test): another process has this port`,
  });
});
