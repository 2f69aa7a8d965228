/** Thousands of event streams and WebSockets through one gateway, while its configuration is replaced and until it drains. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { once } from "node:events";
import path from "node:path";
import { signed, testAuthority } from "../support/certificates.ts";
import { eventually, within } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { root } from "../support/source-tree.ts";
import type { Inside } from "./plugins/weigh.ts";
import { Callers, streamsPerConnection } from "./callers.ts";
import { Origins } from "./origins.ts";

/** How much of everything. */
export interface Plan {
  /** Event streams of callers of HTTP/2, half to a service of HTTP/1.1 and half to one of HTTP/2. */
  readonly streams: number;
  /** WebSockets, half over HTTP/1.1 and half over HTTP/2. */
  readonly sockets: number;
  readonly reloads: number;
}

/** Memory of the gateway at one moment. */
export interface Weight {
  readonly when: string;
  readonly residentBytes: number;
  /** JavaScript objects after a collection. */
  readonly heapBytes: number;
  readonly bufferBytes: number;
  readonly descriptors: number;
}

/** What came of it. */
export interface Outcome {
  readonly opened: number;
  readonly weights: readonly Weight[];
  /** What ended without having been asked to. */
  readonly lost: readonly string[];
  /** Configurations on which the tagged streams live at the end: the first one, if all is well. */
  readonly generations: readonly string[];
  /** Lanes whose exchange had ended before they were told to. */
  readonly early: number;
  /** Lines of the access log for lanes, by route. */
  readonly logged: Readonly<Record<string, number>>;
  readonly protocolErrors: number;
  readonly exitCode: number | null;
}

/** Descriptors that this process, and the gateway, need at most: a lane is a socket of its own wherever HTTP/1.1 is spoken. */
export function descriptorsFor({ streams, sockets }: Plan): number {
  return streams / 2 + sockets * 1.5 + ((streams + sockets) / streamsPerConnection) * 2 + 500;
}

/** How many descriptors a process may have here. */
export function descriptorLimit(): number {
  const hard = execFileSync("sh", ["-c", "ulimit -H -n"]).toString().trim();
  return hard === "unlimited" ? Infinity : Number(hard);
}

/** Drained for as long as it takes, but not for ever. */
const drainTimeout = "300s";

interface Where {
  readonly port: readonly number[];
  readonly admin: number;
  readonly origins: Origins;
}

/** Route and service names change with every generation: nothing of what the lanes began with is in the file any more. */
function configOf(generation: number, { port, admin, origins }: Where): string {
  const own = (name: string): string => `${name}-${generation}`;
  return `
admin: { address: "127.0.0.1:${admin}" }
workers: 1
drainTimeout: ${drainTimeout}
observe: { accessLog: { format: json } }
gateway:
  limits: { connections: 20000 }
  listeners:
    - { name: clear, host: 127.0.0.1, port: ${port[0]} }
    - { name: secure, host: 127.0.0.1, port: ${port[1]}, tls: { certificates: [{ cert: test.crt, key: test.key }] } }
services:
  ${own("one")}: { endpoints: ["127.0.0.1:${origins.port1}"] }
  ${own("two")}: { endpoints: ["127.0.0.1:${origins.port2}"], protocol: http2 }
policies:
  default: { timeout: 60s, idleTimeout: 15m }
routes:
  - { name: ${own("tagged")}, match: { path: /tagged }, to: ${own("one")}, plugins: [{ ${root}/test/scale/plugins/tag.ts: { generation: ${generation} } }] }
  - { name: ${own("two")}, match: { path: /two }, to: ${own("two")} }
  - { name: generation, match: { path: /generation }, respond: { status: 200, body: "${generation}" } }
  - { name: inside, match: { path: /inside }, respond: { status: 200 }, plugins: [${root}/test/scale/plugins/weigh.ts] }
  - { name: ${own("one")}, to: ${own("one")} }
`;
}

/** Opens everything, reloads, drains, ends; `say` hears how far it is. Nothing is asserted: see {@link Outcome}. */
export async function standTheTest(plan: Plan, say: (line: string) => void): Promise<Outcome> {
  const pair = await signed(await testAuthority(), { dns: ["a.test"] });
  const origins = await Origins.start();
  let where: Where | null = null;
  const starting = Gateway.start({
    ports: 2,
    files: { "test.crt": pair.cert, "test.key": pair.key },
    command: raised([process.execPath, path.join(root, "cmd/weft.ts")]),
    config: (at) => configOf(0, (where = { ...at, origins })),
  });
  const gateway = await starting.catch(async (error: unknown) => {
    await origins.stop();
    throw error;
  });
  const callers = new Callers();
  const weights: Weight[] = [];
  const weigh = async (when: string): Promise<void> => {
    const weight = await weightOf(gateway, when);
    weights.push(weight);
    say(shown(weight));
  };
  try {
    await weigh("empty");
    const began = performance.now();
    await openAll(gateway, callers, plan);
    const opened = callers.open;
    say(`${opened} open after ${Math.round((performance.now() - began) / 1000)} s`);
    await callers.everywhere(1, () => origins.tick(1));
    await weigh("all open");
    for (let generation = 1; generation <= plan.reloads; generation++) {
      replace(gateway, configOf(generation, where!));
      await eventually(`configuration ${generation}`, async () => {
        return (await ask(gateway, "/generation")) === String(generation);
      });
      if (generation % Math.max(1, Math.floor(plan.reloads / 5)) !== 0) continue;
      await callers.everywhere(generation + 1, () => origins.tick(generation + 1));
      await weigh(`${generation} reloads`);
    }
    gateway.child.kill("SIGTERM");
    await eventually("the drain to begin", () => gateway.stderr.includes("draining"));
    await eventually("GOAWAY on every connection", () => callers.goaways >= callers.connections);
    const last = plan.reloads + 2;
    await callers.everywhere(last, () => origins.tick(last));
    say(`draining: ${callers.open} open, ${callers.lost.length} lost, every one carries bytes`);
    const lost = [...callers.lost];
    const generations = callers.generations();
    const protocolErrors = await gateway.metric("weft_protocol_errors_total");
    const early = Object.values(loggedLanes(gateway)).length;
    const gone = once(gateway.child, "close") as Promise<[number | null]>;
    callers.finish();
    origins.finish();
    const [exitCode] = await within("weft to end by itself", gone, 120_000);
    const logged = loggedLanes(gateway);
    return { opened, weights, lost, generations, early, logged, protocolErrors, exitCode };
  } finally {
    callers.destroy();
    await gateway[Symbol.asyncDispose]();
    await origins.stop();
  }
}

async function openAll(gateway: Gateway, callers: Callers, plan: Plan): Promise<void> {
  const [clear, secure] = gateway.ports as [number, number];
  for (const place of [
    { port: clear, secure: false },
    { port: secure, secure: true },
  ]) {
    const half = plan.streams / 2;
    const tagged = Math.min(50, half / 4);
    await callers.openStreams(place, "/tagged", tagged);
    await callers.openStreams(place, "/one", half / 2 - tagged);
    await callers.openStreams(place, "/two", half / 2);
    await callers.openSocketsOver2(place, plan.sockets / 4);
    await callers.openSocketsOver1(place, plan.sockets / 4);
  }
}

/** As an editor does. */
function replace(gateway: Gateway, text: string): void {
  const file = path.join(gateway.folder, "weft.yaml");
  fs.writeFileSync(`${file}.next`, text);
  fs.renameSync(`${file}.next`, file);
}

/** Where the access log goes: to a pipe it would lose lines, since this process is too busy to read it in time. */
const accessLog = "access.log";

/** The command with as many descriptors as may be, in the gateway's folder. */
function raised(command: readonly string[]): readonly string[] {
  const script = `ulimit -n "$(ulimit -H -n)"; exec "$@" >${accessLog}`;
  return ["sh", "-c", script, "sh", ...command];
}

async function ask(gateway: Gateway, where: string): Promise<string> {
  const client = await gateway.connect();
  await client.send(`GET ${where} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`);
  const { body } = await client.response();
  client.destroy();
  return body;
}

async function weightOf(gateway: Gateway, when: string): Promise<Weight> {
  const { pid } = gateway.child;
  const inside = JSON.parse(await ask(gateway, "/inside")) as Inside;
  const status = fs.readFileSync(`/proc/${pid}/status`, "utf8");
  return {
    when,
    residentBytes: Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]) * 1024,
    heapBytes: inside.heapBytes,
    bufferBytes: inside.bufferBytes,
    descriptors: fs.readdirSync(`/proc/${pid}/fd`).length,
  };
}

/** The weight in MiB, on a line. */
export function shown(weight: Weight): string {
  const mib = (bytes: number): string => (bytes / 1048576).toFixed(1);
  return `${weight.when}: ${mib(weight.residentBytes)} MiB in RAM, ${mib(weight.heapBytes)} of objects, ${mib(weight.bufferBytes)} of buffers, ${weight.descriptors} descriptors`;
}

/** How many lanes the access log says to have ended, by route. */
function loggedLanes(gateway: Gateway): Record<string, number> {
  const logged: Record<string, number> = {};
  const lines = fs.readFileSync(path.join(gateway.folder, accessLog), "utf8");
  for (const match of lines.matchAll(/"route":"((?:one|two|tagged)-\d+)"/g))
    logged[match[1]!] = (logged[match[1]!] ?? 0) + 1;
  return logged;
}

/** Fails when a promise of {@link Outcome} is not kept. */
export function judge(plan: Plan, outcome: Outcome): void {
  assert.equal(outcome.opened, plan.streams + plan.sockets);
  assert.deepEqual(outcome.lost.slice(0, 5), [], `${outcome.lost.length} lost`);
  assert.deepEqual(outcome.generations, ["0"]);
  // each lane has one line, which it got at its end, with the names of the configuration that it began with
  assert.equal(outcome.early, 0);
  const routes = Object.keys(outcome.logged).sort();
  assert.deepEqual(routes, ["one-0", "tagged-0", "two-0"]);
  const lines = Object.values(outcome.logged).reduce((sum, count) => sum + count, 0);
  assert.equal(lines, outcome.opened);
  assert.equal(outcome.protocolErrors, 0);
  assert.equal(outcome.exitCode, 0);
  const [, before] = outcome.weights;
  const after = outcome.weights.at(-1)!;
  // snapshots that were kept, or a hundred bytes a lane and reload, would be more
  const mib = 1048576;
  assert.ok(after.heapBytes - before!.heapBytes < 4 * mib, "JavaScript memory");
  assert.ok(after.bufferBytes - before!.bufferBytes < 4 * mib, "buffers");
  assert.ok(after.residentBytes < before!.residentBytes * 1.25 + 32 * mib, "memory in RAM");
  assert.ok(after.descriptors <= before!.descriptors + 4, "descriptors");
}
