/** gRPC by grpc-js on both sides: every kind of call, errors of ours, retries by code, deadlines, cancellation, balancing. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { collect, EchoCaller, EchoServer } from "../support/grpc.ts";
import { freePorts } from "../support/ports.ts";

let gateway: Gateway;
let echo: EchoServer;
let twins: EchoServer[];
let flaky: EchoServer;
let stuck: EchoServer;
let cutting: EchoServer;
/** Answers of `flaky`, first to last; then it echoes. */
let script: (() => Partial<grpc.StatusObject>)[] = [];
let cancelled = 0;
const callers: EchoCaller[] = [];

function caller(host: string): EchoCaller {
  const made = new EchoCaller(gateway.port, host);
  callers.push(made);
  return made;
}

before(async () => {
  echo = await EchoServer.start();
  twins = [await EchoServer.start(), await EchoServer.start()];
  flaky = await EchoServer.start({
    unary: (call, done) => {
      const next = script.shift();
      if (next === undefined) done(null, call.request);
      else done(next() as grpc.ServiceError);
    },
  });
  stuck = await EchoServer.start({
    unary: (call) => void call.on("cancelled", () => cancelled++),
    download: (call) => {
      call.write(Buffer.from("first"));
      call.on("cancelled", () => cancelled++);
    },
    chat: (call) => {
      call.write(Buffer.from("hello"));
      call.on("cancelled", () => cancelled++);
      call.on("error", () => {});
    },
  });
  cutting = await EchoServer.start({
    download: (call) => {
      call.write(Buffer.from("first"));
      setImmediate(() => cutting.stop());
    },
  });
  const [nobody] = await freePorts(1);
  gateway = await Gateway.start({
    config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services:
  echo: { endpoints: ["127.0.0.1:${echo.port}"], protocol: http2 }
  twins: { endpoints: ["127.0.0.1:${twins[0]!.port}", "127.0.0.1:${twins[1]!.port}"], protocol: http2, policy: { balance: round-robin } }
  flaky: { endpoints: ["127.0.0.1:${flaky.port}"], protocol: http2 }
  stuck: { endpoints: ["127.0.0.1:${stuck.port}"], protocol: http2 }
  cutting: { endpoints: ["127.0.0.1:${cutting.port}"], protocol: http2 }
  empty: { endpoints: [] }
  nobody: { endpoints: ["127.0.0.1:${nobody}"], protocol: http2 }
routes:
  - { name: echo, hosts: [echo.test], to: echo }
  - { name: twins, hosts: [twins.test], to: twins }
  - { name: flaky, hosts: [flaky.test], to: flaky, policy: { retry: { attempts: 2, on: [unavailable] } } }
  - { name: default, hosts: [default.test], to: flaky }
  - { name: slow, hosts: [slow.test], to: stuck, policy: { timeout: 200ms } }
  - { name: total, hosts: [total.test], to: stuck, policy: { totalTimeout: 300ms } }
  - { name: stuck, hosts: [stuck.test], to: stuck }
  - { name: cutting, hosts: [cutting.test], to: cutting }
  - { name: empty, hosts: [empty.test], to: empty }
  - { name: nobody, hosts: [nobody.test], to: nobody }
  - { name: keyed, hosts: [keyed.test], to: echo, plugins: [{ api-key: {} }] }
  - { name: limited, hosts: [limited.test], to: echo, plugins: [{ rate-limit: { limit: 1/min } }] }
  - { name: small, hosts: [small.test], to: echo, plugins: [{ body-limit: { bytes: 1KiB } }] }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  for (const each of callers) each.close();
  for (const each of [echo, flaky, stuck, cutting, ...twins]) each.stop();
  await gateway.stop();
});

describe("calls of every kind:", () => {
  test("unary", async () => {
    const { code, messages } = await caller("echo.test").unary("hello");
    assert.deepEqual({ code, messages }, { code: 0, messages: ["hello"] });
    assert.equal(echo.calls.at(-1), "/test.Echo/Unary");
  });

  test("unary with a megabyte each way", async () => {
    const text = "x".repeat(1_000_000);
    const { code, messages } = await caller("echo.test").unary(text);
    assert.equal(code, 0);
    assert.ok(messages[0] === text);
  });

  test("client streaming", async () => {
    const messages = Array.from({ length: 100 }, () => Buffer.alloc(10_000, 1));
    assert.equal(await caller("echo.test").upload(messages), "1000000");
  });

  test("server streaming", async () => {
    const { code, messages } = await collect(caller("echo.test").download("500"));
    assert.equal(code, 0);
    assert.equal(messages.length, 500);
    assert.equal(messages[499], "message 499");
  });

  test("both ways, each message answered before the next is sent", async () => {
    const call = caller("echo.test").chat();
    const outcome = collect(call);
    for (let i = 0; i < 20; i++) {
      call.write(Buffer.from(`ping ${i}`));
      const [answer] = (await once(call, "data")) as [Buffer];
      assert.equal(answer.toString(), `ping ${i}`);
    }
    call.end();
    const { code, messages } = await outcome;
    assert.deepEqual([code, messages.length], [0, 20]);
  });

  test("a hundred at once", async () => {
    const one = caller("echo.test");
    const all = await Promise.all(Array.from({ length: 100 }, (_, i) => one.unary(`n${i}`)));
    assert.deepEqual(
      all.map(({ messages }) => messages[0]),
      Array.from({ length: 100 }, (_, i) => `n${i}`),
    );
  });

  test("metadata and te reach the service, hop-by-hop fields do not", async () => {
    await caller("echo.test").unary("x", { metadata: { "x-tenant": "acme" } });
    const metadata = echo.metadata.at(-1)!.getMap();
    assert.equal(metadata["x-tenant"], "acme");
    assert.equal(metadata["via"], "1.1 weft");
    assert.equal(metadata["connection"], undefined);
  });

  test("a status with details from the service arrives as it is", async () => {
    script = [() => ({ code: 5, details: "no such thing, 100 %" })];
    const { code, details } = await caller("flaky.test").unary("x");
    assert.deepEqual([code, details], [5, "no such thing, 100 %"]);
  });
});

describe("errors of ours are answers of trailers only, with the status of CONTRACT section 4:", () => {
  for (const [host, status, code] of [
    ["unknown.test", grpc.status.UNIMPLEMENTED, "no-route"],
    ["keyed.test", grpc.status.UNAUTHENTICATED, "unauthenticated"],
    ["empty.test", grpc.status.UNAVAILABLE, "no-endpoint"],
    ["nobody.test", grpc.status.UNAVAILABLE, "connect-refused"],
    ["slow.test", grpc.status.DEADLINE_EXCEEDED, "deadline-exceeded"],
  ] as const)
    test(`${code} is ${status}`, async () => {
      const outcome = await caller(host).unary("x");
      assert.equal(outcome.code, status);
      assert.match(String(outcome.trailers.get("proxy-status")[0]), new RegExp(`${code}: `));
    });

  test("rate-limited is 8", async () => {
    const one = caller("limited.test");
    assert.equal((await one.unary("x")).code, 0);
    assert.equal((await one.unary("x")).code, grpc.status.RESOURCE_EXHAUSTED);
  });

  test("body-too-large is 8", async () => {
    const { code } = await caller("small.test").unary("x".repeat(5000));
    assert.equal(code, grpc.status.RESOURCE_EXHAUSTED);
  });

  test("a deadline in the middle of a stream ends it with trailers of status 4", async () => {
    const { code, messages, details } = await collect(caller("total.test").download("1"));
    assert.deepEqual([code, messages], [4, ["first"]]);
    assert.match(details, /totalTimeout/);
  });

  test("a service lost in the middle of a stream ends it with trailers of status 14", async () => {
    const { code, messages } = await collect(caller("cutting.test").download("1"));
    assert.deepEqual([code, messages], [14, ["first"]]);
  });
});

describe("retries by code:", () => {
  const unavailable = (pushback?: string) => () => {
    const metadata = new grpc.Metadata();
    if (pushback !== undefined) metadata.set("grpc-retry-pushback-ms", pushback);
    return { code: 14, details: "busy", metadata };
  };

  test("a call with an idempotency-key is tried again when its service is unavailable", async () => {
    script = [unavailable()];
    const before = flaky.calls.length;
    const { code, messages } = await caller("flaky.test").unary("again", {
      metadata: { "idempotency-key": "1" },
    });
    assert.deepEqual([code, messages], [0, ["again"]]);
    assert.equal(flaky.calls.length - before, 2);
    assert.equal(await gateway.metric("weft_retries_total", { reason: "grpc-unavailable" }), 1);
  });

  test("a call without one is not: it may have done something", async () => {
    script = [unavailable()];
    const before = flaky.calls.length;
    const { code, details } = await caller("flaky.test").unary("once");
    assert.deepEqual([code, details], [14, "busy"]);
    assert.equal(flaky.calls.length - before, 1);
  });

  test("503 in the default list stands for UNAVAILABLE, too", async () => {
    script = [unavailable()];
    const { code } = await caller("default.test").unary("x", {
      metadata: { "idempotency-key": "2" },
    });
    assert.equal(code, 0);
  });

  test("a code that is not listed is passed on", async () => {
    script = [() => ({ code: 10, details: "aborted" })];
    const before = flaky.calls.length;
    const { code } = await caller("flaky.test").unary("x", {
      metadata: { "idempotency-key": "3" },
    });
    assert.deepEqual([code, flaky.calls.length - before], [10, 1]);
  });

  test("a service that asks for another try gets it, after the time that it names", async () => {
    script = [unavailable("20")];
    const { code, messages } = await caller("flaky.test").unary("pushed");
    assert.deepEqual([code, messages], [0, ["pushed"]]);
  });

  test("a service that forbids another try is not asked again", async () => {
    script = [unavailable("-1")];
    const before = flaky.calls.length;
    const { code } = await caller("flaky.test").unary("x", {
      metadata: { "idempotency-key": "4" },
    });
    assert.deepEqual([code, flaky.calls.length - before], [14, 1]);
  });

  test("not more often than the policy allows", async () => {
    script = [unavailable(), unavailable(), unavailable(), unavailable()];
    const before = flaky.calls.length;
    const { code } = await caller("flaky.test").unary("x", {
      metadata: { "idempotency-key": "5" },
    });
    assert.deepEqual([code, flaky.calls.length - before], [14, 3]);
    script = [];
  });
});

describe("cancellation:", () => {
  test("a caller that gives up ends the call at the service", async () => {
    const before = cancelled;
    const call = caller("stuck.test").chat();
    const outcome = collect(call);
    await once(call, "data");
    call.cancel();
    assert.equal((await outcome).code, grpc.status.CANCELLED);
    await eventually("the service to hear of it", () => cancelled === before + 1);
  });

  test("a caller's own deadline does the same", async () => {
    const before = cancelled;
    const { code } = await caller("stuck.test").unary("x", { deadlineMs: 200 });
    assert.equal(code, grpc.status.DEADLINE_EXCEEDED);
    await eventually("the service to hear of it", () => cancelled === before + 1);
  });
});

test("calls on one connection are balanced one by one", async () => {
  const one = caller("twins.test");
  for (let i = 0; i < 20; i++) assert.equal((await one.unary("x")).code, 0);
  assert.deepEqual(
    twins.map((twin) => twin.calls.length),
    [10, 10],
  );
});

test("at the edge grpc-timeout of a stranger does not go on", async () => {
  await caller("echo.test").unary("x", { deadlineMs: 5000 });
  assert.deepEqual(echo.metadata.at(-1)!.get("grpc-timeout"), []);
});
