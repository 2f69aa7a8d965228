/** Active health checks over real sockets. */

import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import net from "node:net";
import { afterEach, test } from "node:test";
import { defaultEjection } from "../../../policies/ejection.ts";
import { ProxyError } from "../../../proxy/errors.ts";
import type { Dial } from "../../../proxy/exchange.ts";
import { Transport } from "../../../proxy/listen/transport.ts";
import { Health } from "../../../proxy/observe/shared-endpoints.ts";
import { SharedState } from "../../../proxy/observe/shared.ts";
import { HealthChecker } from "../../../proxy/service/health.ts";
import type { HealthSpec, ServiceSpec } from "../../../proxy/service/service.ts";
import { ServiceSet } from "../../../proxy/service/set.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** Plain TCP, as the data path dials. */
const dial: Dial = (target, _options, done) => {
  const transport = Transport.connect({ host: target.host, port: target.port }, () =>
    done(null, transport),
  );
  transport.handler = {
    onData() {},
    onEnd() {},
    onDrain() {},
    onClose: (error) =>
      done(new ProxyError("connect-refused", `connect ${target.port}: ${error?.message}`), null),
  };
  return { cancel: () => transport.destroy() };
};

interface Origin {
  readonly port: number;
  /** Bytes to answer a check with; null: never answer. */
  answer: string | null;
  /** Emits `check` with the request as received. */
  readonly events: EventEmitter;
  open: number;
  mostOpen: number;
}

async function originThat(answer: string | null): Promise<Origin> {
  const events = new EventEmitter();
  const server = net.createServer((socket) => {
    origin.open++;
    origin.mostOpen = Math.max(origin.mostOpen, origin.open);
    socket.on("error", () => {});
    socket.on("close", () => origin.open--);
    socket.on("data", (chunk) => {
      events.emit("check", chunk.toString("latin1"));
      if (origin.answer !== null) socket.write(origin.answer);
    });
    cleanups.push(() => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  const origin: Origin = { port, answer, events, open: 0, mostOpen: 0 };
  return origin;
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const bad = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";

interface World {
  readonly checker: HealthChecker;
  readonly set: ServiceSet;
  /** Emits `change` with `[healthy, reason]`. */
  readonly changes: EventEmitter;
  health(): number;
  apply(ports: readonly number[], health: Partial<HealthSpec> | null): void;
}

function world(ports: readonly number[], health: Partial<HealthSpec> = {}): World {
  const changes = new EventEmitter();
  const set = new ServiceSet({
    shared: SharedState.create({ endpoints: 8, limits: 32 }),
    metrics: null,
    owner: true,
  });
  const checker = new HealthChecker({
    dial,
    changed: (_, healthy, reason) => changes.emit("change", healthy, reason),
  });
  cleanups.push(() => checker.close());
  const apply = (now: readonly number[], over: Partial<HealthSpec> | null): void => {
    const full = {
      path: "/healthz",
      intervalMs: 20,
      timeoutMs: 1000,
      healthy: 2,
      unhealthy: 3,
      ...over,
    };
    const spec: ServiceSpec = {
      name: "orders",
      endpoints: now.map((port) => ({
        address: `127.0.0.1:${port}`,
        weight: 1,
        target: { host: "127.0.0.1", port, key: String(port), tls: null },
      })),
      balance: "ewma",
      ejection: defaultEjection,
      health: over === null ? null : full,
    };
    set.apply([spec]);
    checker.watch(set.services.values());
  };
  apply(ports, health);
  return {
    checker,
    set,
    changes,
    apply,
    health: () => set.services.get("orders")!.endpoints[0]!.row.health,
  };
}

test("asks with a plain GET and takes the first good answer", async () => {
  const origin = await originThat(ok);
  const checked = once(origin.events, "check");
  const { changes, health } = world([origin.port]);
  const [healthy, reason] = await once(changes, "change");
  assert.equal(healthy, true);
  assert.match(reason, /\/healthz: answered 200/);
  assert.equal(health(), Health.healthy);
  const [request] = await checked;
  assert.match(
    request,
    new RegExp(`^GET /healthz HTTP/1\\.1\\r\\nHost: 127\\.0\\.0\\.1:${origin.port}\\r\\n`),
  );
  assert.match(request, /\r\nConnection: close\r\n/);
});

test("three failures make an endpoint unhealthy, two good answers bring it back", async () => {
  const origin = await originThat(ok);
  const { changes, health } = world([origin.port]);
  await once(changes, "change");
  let checks = 0;
  origin.events.on("check", () => checks++);
  origin.answer = bad;
  const [down, why] = await once(changes, "change");
  assert.equal(down, false);
  assert.match(why, /answered 500/);
  assert.equal(health(), Health.unhealthy);
  assert.ok(checks >= 3, `${checks} checks`);
  checks = 0;
  origin.answer = ok;
  const [up] = await once(changes, "change");
  assert.equal(up, true);
  assert.ok(checks >= 2, `${checks} checks`);
});

test("redirects are healthy, client errors are not", async () => {
  const moved = await originThat("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n");
  assert.equal((await once(world([moved.port]).changes, "change"))[0], true);
  const missing = await originThat("HTTP/1.0 404\r\n\r\n");
  const [healthy, reason] = await once(world([missing.port], { unhealthy: 1 }).changes, "change");
  assert.equal(healthy, false);
  assert.match(reason, /answered 404/);
});

test("an interim answer is waited out", async () => {
  const origin = await originThat(`HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n${ok}`);
  assert.equal((await once(world([origin.port]).changes, "change"))[0], true);
});

test("silence is a failure after the timeout, named in words", async () => {
  const origin = await originThat(null);
  const [healthy, reason] = await once(
    world([origin.port], { timeoutMs: 30, unhealthy: 1 }).changes,
    "change",
  );
  assert.equal(healthy, false);
  assert.match(reason, /no answer within 30 ms/);
});

test("a refused connection is a failure", async () => {
  const origin = await originThat(ok);
  const closed = net.createServer().listen(0, "127.0.0.1");
  await once(closed, "listening");
  const { port } = closed.address() as net.AddressInfo;
  closed.close();
  await once(closed, "close");
  assert.notEqual(port, origin.port);
  const [healthy, reason] = await once(world([port], { unhealthy: 1 }).changes, "change");
  assert.equal(healthy, false);
  assert.match(reason, /ECONNREFUSED/);
});

for (const [what, answer] of [
  ["another protocol", "SSH-2.0-OpenSSH_9.6\r\n"],
  ["a made-up status", "HTTP/1.1 999 Weird\r\n\r\n"],
  ["HTTP/2", "HTTP/2 200\r\n\r\n"],
  ["an endless head", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(20_000)}`],
] as const) {
  test(`${what} is a failure`, async () => {
    const origin = await originThat(answer);
    const [healthy] = await once(world([origin.port], { unhealthy: 1 }).changes, "change");
    assert.equal(healthy, false);
  });
}

test("checks of one endpoint never overlap, however slow it is", async () => {
  const origin = await originThat(null);
  const { changes } = world([origin.port], { intervalMs: 5, timeoutMs: 60, unhealthy: 3 });
  await once(changes, "change");
  assert.equal(origin.mostOpen, 1);
});

test("an endpoint that leaves is not asked again, and one without checks is unknown", async () => {
  const origin = await originThat(bad);
  const other = await originThat(ok);
  const { changes, apply, health, set } = world([origin.port], { unhealthy: 1 });
  await once(changes, "change");
  const row = set.services.get("orders")!.endpoints[0]!.row;
  assert.equal(health(), Health.unhealthy);
  apply([origin.port], null);
  assert.equal(row.health, Health.unknown);
  origin.events.on("check", () => assert.fail("asked after it left"));
  apply([other.port], {});
  await once(changes, "change");
  await once(other.events, "check");
});

test("a reload keeps the result of what goes on being checked", async () => {
  const origin = await originThat(bad);
  const { changes, apply, health } = world([origin.port], { unhealthy: 1 });
  await once(changes, "change");
  apply([origin.port], { path: "/other" });
  assert.equal(health(), Health.unhealthy);
  let request = "";
  while (!request.startsWith("GET /other "))
    [request] = (await once(origin.events, "check")) as [string];
});
