/** Whatever is exchanged under full load (configuration, code, program, certificate, listener), and at the end: no request is lost, no connection reset. */

import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import type { TestContext } from "node:test";
import tls from "node:tls";
import { exitCode, get } from "../cmd/serving.ts";
import { Callers } from "../support/callers.ts";
import type { Toll } from "../support/callers.ts";
import { signed, testAuthority } from "../support/certificates.ts";
import type { Pair, TestAuthority } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

/** The long run of docs/reliability.md sets 200. */
const reloads = Number(process.env["WEFT_RELOADS"] ?? 24);

const origin = http.createServer((_request, response) => response.end("fine"));
let authority: TestAuthority;
let gateway: Gateway;
let plain: Callers;
let secure: Callers;

const pair = (): Promise<Pair> => signed(authority, { dns: ["a.test"] });
const plugin = (value: string) => `
import { definePlugin } from "weft/plugin";
export default definePlugin({
  name: "say", stage: "transform",
  setup: () => ({ response(res) { res.headers.set("x-say", ${JSON.stringify(value)}); } }),
});
`;

/** @param routes lines before the last route */
function configOf(
  at: { readonly port: readonly number[]; readonly admin: number },
  routes = "",
  listeners: readonly string[] = ["web", "secure"],
): string {
  const all = {
    web: `{ name: web, host: 127.0.0.1, port: ${at.port[0]} }`,
    secure: `{ name: secure, host: 127.0.0.1, port: ${at.port[1]}, tls: { certificates: [{ cert: a.crt, key: a.key }] } }`,
  } as Record<string, string>;
  return `
gateway:
  listeners: [${listeners.map((name) => all[name]).join(", ")}]
services: { app: { endpoints: ["127.0.0.1:${(origin.address() as AddressInfo).port}"] } }
routes:
${routes}
  - { name: all, to: app, plugins: [./say.ts] }
admin: { address: "127.0.0.1:${at.admin}" }
workers: 2
`;
}

/** Replaces a file of the gateway's folder as an editor does. */
function write(name: string, text: string): void {
  const next = path.join(gateway.folder, `${name}.next`);
  fs.writeFileSync(next, text);
  fs.renameSync(next, path.join(gateway.folder, name));
}

const ports = () => ({ port: gateway.ports, admin: gateway.admin });

async function stopLoad(): Promise<Toll[]> {
  return Promise.all([plain.stop(), secure.stop()]);
}

/** Everybody was served, and a connection was there for whoever wanted one. */
async function nothingLost(t: TestContext): Promise<void> {
  const tolls = await stopLoad();
  t.diagnostic(`${tolls.reduce((sum, { asked }) => sum + asked, 0)} requests`);
  assert.deepEqual(
    tolls.map(({ failed, refused }) => ({ failed, refused })),
    [
      { failed: [], refused: 0 },
      { failed: [], refused: 0 },
    ],
  );
}

before(async () => {
  authority = await testAuthority();
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
});
after(() => {
  origin.closeAllConnections();
  origin.close();
});

beforeEach(async () => {
  const { cert, key } = await pair();
  gateway = await Gateway.start({
    ports: 2,
    files: { "a.crt": cert, "a.key": key, "say.ts": plugin("nothing") },
    config: configOf,
  });
  const [port, tlsPort] = gateway.ports as [number, number];
  plain = Callers.start({ port, kept: 6, single: 6 });
  secure = Callers.start({
    port: tlsPort,
    kept: 3,
    single: 2,
    tls: { servername: "a.test" },
    host: "a.test",
  });
  await Promise.all([plain.more(100), secure.more(20)]);
});
afterEach(async () => {
  await stopLoad();
  await gateway[Symbol.asyncDispose]();
});

test(`${reloads} reloads lose nothing, and each new route serves`, async (t) => {
  const waits: number[] = [];
  for (let i = 1; i <= reloads; i++) {
    const startMs = performance.now();
    write(
      "weft.yaml",
      configOf(ports(), `  - { match: { path: /new${i} }, respond: { status: 299, body: new } }`),
    );
    await eventually(`the route of reload ${i}`, async () => {
      return (await get(gateway.port, `/new${i}`)).status === 299;
    });
    waits.push(Math.round(performance.now() - startMs));
  }
  waits.sort((a, b) => a - b);
  t.diagnostic(
    `new routes after ${waits[waits.length >> 1]} ms in the median, ${waits.at(-1)} at most`,
  );
  await nothingLost(t);
  const applied = await gateway.metric("weft_config_reload_total", { result: "applied" });
  assert.equal(applied, reloads + 1);
});

test("workers that are rolled for changed code lose nothing", async (t) => {
  for (const value of ["one", "two", "three", "four"]) {
    write("say.ts", plugin(value));
    await eventually(`every answer to say ${value}`, async () => {
      const answers = await Promise.all(Array.from({ length: 6 }, () => get(gateway.port)));
      return answers.every(({ headers }) => headers["x-say"] === value);
    });
    await Promise.all([plain.more(50), secure.more(10)]);
  }
  await nothingLost(t);
  assert.equal(await gateway.metric("weft_worker_restarts_total"), 0, "none died");
});

test("a hot restart of the program loses nothing, and neither does the next", async (t) => {
  const line = /"successor":(\d+),"msg":"hot restart: the new process serves"/g;
  const pids = [gateway.child.pid!];
  try {
    for (let generation = 1; generation <= 2; generation++) {
      process.kill(pids.at(-1)!, "SIGUSR2");
      // the successors write into the same pipe
      const found = await eventually(`generation ${generation} to serve`, () => {
        return [...gateway.stderr.matchAll(line)][generation - 1];
      });
      pids.push(Number(found[1]));
      await Promise.all([plain.more(50), secure.more(10)]);
    }
    assert.equal(await exitCode(gateway), 0);
    await eventually("the second process to end", () => !isAlive(pids[1]!));
    await Promise.all([plain.more(50), secure.more(10)]);
    await nothingLost(t);
  } finally {
    await stopLoad();
    for (const pid of pids.slice(1)) if (isAlive(pid)) process.kill(pid, "SIGTERM");
    await eventually("the last process to end", () => !isAlive(pids.at(-1)!));
  }
});

test("certificates that are swapped lose nothing, and new callers see the new one", async (t) => {
  for (let i = 0; i < 6; i++) {
    const { cert, key } = await pair();
    write("a.key", key);
    write("a.crt", cert);
    const wanted = cert.replaceAll(/-----[^-]+-----|\s/g, "");
    await eventually("the new certificate", async () => (await shown()) === wanted);
    await secure.more(20);
  }
  await nothingLost(t);
});

test("a listener that is taken away finishes with its callers and resets nobody", async () => {
  write("weft.yaml", configOf(ports(), "", ["secure"]));
  await eventually("nobody to be let in any more", () => plain.refused === 12);
  await secure.more(20);
  const [without, served] = await stopLoad();
  assert.deepEqual(without!.failed, []);
  assert.deepEqual([served!.failed, served!.refused], [[], 0]);
});

test("a drain answers everybody it has let in, and resets nobody", async (t) => {
  gateway.child.kill("SIGTERM");
  assert.equal(await exitCode(gateway), 0);
  const tolls = await stopLoad();
  t.diagnostic(`${tolls.reduce((sum, { asked }) => sum + asked, 0)} requests`);
  assert.deepEqual(
    tolls.map(({ failed }) => failed),
    [[], []],
  );
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Base64 of the certificate that a new connection is shown. */
async function shown(): Promise<string> {
  const socket = tls.connect({
    port: gateway.ports[1]!,
    host: "127.0.0.1",
    servername: "a.test",
    rejectUnauthorized: false,
  });
  await once(socket, "secureConnect");
  const { raw } = socket.getPeerX509Certificate()!;
  socket.destroy();
  return raw.toString("base64");
}
