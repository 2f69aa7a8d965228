/** Exchanges that end too early between an app, its sidecar, a peer's sidecar and the peer's app: nothing of them is left in either. */

import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import tls from "node:tls";
import { createAuthority, issueCertificate } from "../../control/authority/authority.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { root } from "../support/source-tree.ts";
import { cutOnAnswer, provoke, untilClosed, type Abort, type Target } from "./aborts.ts";
import { lookInside, settled, type Holdings } from "./besieged.ts";
import { MoodyOrigin } from "./moody-origin.ts";
import { streams } from "./stream-aborts.ts";

const count = Number(process.env["WEFT_ABORTS"] ?? 10_000) / 4;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-mesh-leaks-"));
const host = "orders";
const chunks = "Transfer-Encoding: chunked\r\n";
const upgrade = `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${"A".repeat(22)}==\r\n`;

/** CONNECT to the service, a request inside, and away in its answer. */
const connected =
  (cut: "reset" | "end"): Abort =>
  async ({ port }) => {
    const socket = net.connect({ port, host: "127.0.0.1" });
    socket.on("error", () => {});
    socket.write(`CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n`);
    let text = "";
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.on("data", (chunk: Buffer) => {
      const before = text;
      text += chunk.latin1Slice();
      // without end: whoever has left is noticed by what is written
      if (before === "") socket.write("GET /drip HTTP/1.1\r\nHost: orders\r\n\r\n");
      else if (cut === "reset") socket.resetAndDestroy();
      else socket.destroySoon();
    });
    await closed;
  };

/** At the peer's inbound port: a handshake with or without a certificate, and away. */
const atInbound =
  (who: "web" | "nobody"): Abort =>
  async ({ tlsPort }) => {
    const own = (name: string): Buffer => fs.readFileSync(path.join(folder, name));
    const socket = tls.connect({
      port: tlsPort,
      host: "127.0.0.1",
      rejectUnauthorized: false,
      ALPNProtocols: ["http/1.1"],
      ...(who === "web" ? { cert: own("web.crt"), key: own("web.key") } : {}),
    });
    socket.on("error", () => {});
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.once("secureConnect", () => socket.write("GET /drip HTTP/1.1\r\nHost: orders\r\n\r\n"));
    socket.once("data", () => socket.destroy());
    await closed;
  };

const kinds: Readonly<Record<string, Abort>> = {
  "the app resets in the answer": cutOnAnswer({ host, path: "/part" }, "reset"),
  "the app leaves in the answer": cutOnAnswer({ host, path: "/drip" }, "destroy"),
  "the peer's app resets at once": untilClosed({ host, path: "/reset-at-once" }),
  "the peer's app resets in its body": untilClosed({ host, path: "/reset-in-body" }),
  "the peer's app closes in a chunk": untilClosed({ host, path: "/close-in-chunk" }),
  "the peer's app answers early": untilClosed({
    host,
    path: "/early",
    method: "POST",
    fields: chunks,
    body: "5\r\nhello\r\n",
  }),
  "the peer's app speaks no HTTP": untilClosed({ host, path: "/garbage" }),
  "the call is denied": untilClosed({ host, path: "/ok", method: "DELETE" }),
  "the service is not known": untilClosed({ host: "nobody", path: "/ok" }),
  "no peer is there": untilClosed({ host: "away", path: "/ok" }),
  "the app resets a WebSocket": cutOnAnswer({ host, path: "/switch", fields: upgrade }, "reset"),
  "the peer's app resets a WebSocket": untilClosed({
    host,
    path: "/switch-and-reset",
    fields: upgrade,
  }),
  "the app cancels streams": streams({ authority: host, path: "/drip" }, "cancels"),
  "the app cuts a connection of HTTP/2": streams({ authority: host, path: "/drip" }, "cuts"),
  "the app resets a tunnel": connected("reset"),
  "the app ends a tunnel": connected("end"),
  "a peer leaves in the answer": atInbound("web"),
  "a stranger knocks": atInbound("nobody"),
};

let app: MoodyOrigin;
let orders: Gateway;
let web: Gateway;
let target: Target;
let first: readonly Holdings[];

const inside = `plugins: [{ ${root}/test/leaks/plugins/inside.ts: {}, when: 'request.path == "/inside"' }]`;
const identity = (name: string): string =>
  `{ cert: ${folder}/${name}.crt, key: ${folder}/${name}.key, bundle: ${folder}/bundle.crt }`;

before(async () => {
  app = await MoodyOrigin.start();
  await createAuthority(folder, "weft.local");
  for (const service of ["web", "orders"])
    await issueCertificate({ service, ca: folder, out: folder });
  const sidecar = (name: string, more: (own: number) => string) =>
    Gateway.start({
      mode: "mesh",
      ports: 2,
      config: ({ port, admin }) => `
mesh:
  service: ${name}
  app: 127.0.0.1:${app.port}
  outbound: 127.0.0.1:${port[0]}
  inbound: 127.0.0.1:${port[1]}
  identity: ${identity(name)}
policies: { default: { retry: { attempts: 0 }, ejection: { consecutive: 10000 } } }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
${inside}
${more(port[1]!)}
`,
    });
  orders = await sidecar(
    "orders",
    (own) => `
services: { orders: { endpoints: ["127.0.0.1:${own}"] } }
access: { rules: [{ to: orders, from: [web], methods: [GET, POST, CONNECT] }] }
`,
  );
  web = await sidecar(
    "web",
    () => `
services:
  orders: { endpoints: ["127.0.0.1:${orders.ports[1]}"] }
  away: { endpoints: ["127.0.0.1:1"] }
`,
  );
  const [port] = web.ports as [number];
  target = { port, tlsPort: orders.ports[1]!, rawPort: port, passPort: port, origin: app };
  await provoke(target, Object.keys(kinds).length * 20, { kinds });
  first = await holdings();
});
after(async () => {
  await web?.[Symbol.asyncDispose]();
  await orders?.[Symbol.asyncDispose]();
  await app?.close();
  fs.rmSync(folder, { recursive: true });
});

/** Of both sidecars, each asked by its own app. */
async function holdings(): Promise<Holdings[]> {
  await eventually("the app's last request to be over", () => app.busy === 0);
  app.hangUp();
  return Promise.all(
    [web, orders].map(async (gateway) => {
      // the sidecars keep connections to each other
      const sides = gateway === web ? (["downstream"] as const) : [];
      await settled(gateway, sides);
      return lookInside(gateway, host, sides);
    }),
  );
}

test("after thousands of aborts in a mesh nothing of them is left in either sidecar", async (t) => {
  const seen = new Set<string>();
  await provoke(target, count, { kinds, onEach: (kind) => seen.add(kind) !== undefined });
  assert.deepEqual([...seen].sort(), Object.keys(kinds).sort());
  const last = await holdings();
  for (const [i, name] of ["web", "orders"].entries()) {
    t.diagnostic(`${name} before ${JSON.stringify(first[i])}`);
    t.diagnostic(`${name} after  ${JSON.stringify(last[i])}`);
    // connections between the two are kept: as many as there were at most at once
    assert.ok(last[i]!.activeRequests === 0);
    assert.ok(last[i]!.timers <= first[i]!.timers + 48, `${name}: timers`);
    assert.ok(
      (last[i]!.objects["Timed"] ?? 0) <= (first[i]!.objects["Timed"] ?? 0) + 150,
      `${name}: objects`,
    );
    assert.ok(last[i]!.descriptors <= first[i]!.descriptors + 48, `${name}: descriptors`);
    assert.ok(
      last[i]!.heapBytes - first[i]!.heapBytes < 4 * 1024 * 1024,
      `${name}: JavaScript memory`,
    );
    assert.ok(last[i]!.bufferBytes - first[i]!.bufferBytes < 4 * 1024 * 1024, `${name}: buffers`);
  }
  for (const gateway of [web, orders]) {
    assert.equal(await gateway.metric("weft_worker_restarts_total"), 0);
    assert.doesNotMatch(gateway.stderr, /uncaught|unhandled|internal error|TypeError/i);
  }
});
