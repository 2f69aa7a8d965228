/** Runs in a network namespace with twenty ports for outgoing connections: see scarcity.test.ts. */

import assert from "node:assert/strict";
import net from "node:net";
import { once } from "node:events";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { Origin } from "../support/origin.ts";

/** Below the range, so that callers do not take what weft needs. */
let nextLocalPort = 33_000;

async function ask(port: number, path: string): Promise<net.Socket & { text: string }> {
  const socket = Object.assign(
    net.connect({ port, host: "127.0.0.1", localPort: nextLocalPort++ }),
    { text: "" },
  );
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => (socket.text += chunk.toString("latin1")));
  await once(socket, "connect");
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  return socket;
}

const origin = await Origin.start(async (connection) => {
  const head = await connection.head();
  if (head?.includes("/held") !== true)
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
  await connection.untilEnded();
  connection.end();
});
const gateway = await Gateway.start({
  config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services: { app: { endpoints: ["${origin.address}"] } }
policies: { default: { retry: { attempts: 0 }, ejection: { consecutive: 10000 } } }
routes: [{ to: app }]
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
});

// each holds one port; those beyond the last get an answer of weft's own
const held: Awaited<ReturnType<typeof ask>>[] = [];
for (let i = 0; i < 30; i++) held.push(await ask(gateway.port, "/held"));
await eventually("refusals", () => held.filter(({ text }) => text !== "").length >= 5, 60_000);
for (const { text } of held.filter(({ text }) => text !== "")) {
  assert.match(text, /^HTTP\/1\.1 50[23] /);
  assert.match(text, /"code":"(connect-refused|connect-timeout)"/);
  assert.match(text, /EADDRNOTAVAIL|no free|local/i);
}
assert.equal(gateway.child.exitCode, null);

for (const socket of held) socket.resetAndDestroy();
await eventually(
  "service again",
  async () => {
    const socket = await ask(gateway.port, "/after");
    await Promise.race([once(socket, "data"), once(socket, "close")]);
    socket.destroy();
    return socket.text.includes("fine");
  },
  60_000,
);
await gateway[Symbol.asyncDispose]();
await origin.close();
