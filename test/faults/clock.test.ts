/** The clock on the wall is set an hour or a day off, both ways, in a running process: limits, deadlines and what runs do not notice. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { SignJWT } from "jose";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import type { OriginConnection } from "../support/origin.ts";
import type { RawClient } from "../support/raw-client.ts";

/** Where Debian keeps it; null: nowhere. */
function library(): string | null {
  const found = spawnSync("faketime", ["now", "printenv", "LD_PRELOAD"], { encoding: "utf8" });
  const named = /\S*libfaketime\S*/.exec(found.stdout ?? "")?.[0];
  // the one for programs with threads
  return named?.replace(/libfaketime(MT)?\.so/, "libfaketimeMT.so") ?? null;
}

/** On CI it is installed, so there it is never a reason to skip. */
const preload = library();
const skip: string | false =
  preload === null && process.env["CI"] !== "true"
    ? "libfaketime is not installed: this test needs it (apt-get install faketime)"
    : false;

const secret = "a secret of more than thirty-two bytes";
const hourS = 3600;
const dayS = 24 * hourS;

/** A service as the admin API lists it. */
interface Listed {
  readonly name: string;
  readonly endpoints: readonly { readonly state: string }[];
}

function token(expiresInS: number): Promise<string> {
  const expires = Math.floor(Date.now() / 1000) + expiresInS;
  return new SignJWT({ sub: "alice", exp: expires })
    .setProtectedHeader({ alg: "HS256" })
    .sign(Buffer.from(secret));
}

describe("the clock jumps:", { skip }, () => {
  let origin: Origin;
  let dead: Origin;
  let gateway: Gateway;
  let client: RawClient;

  before(async () => {
    origin = await Origin.start(
      answering((request, count) => {
        if (/\/(silent|held)/.test(request.start)) return null;
        return ok(`${count}`, "Cache-Control: max-age=600\r\n");
      }),
    );
    dead = await Origin.start((connection: OriginConnection) => connection.reset());
    gateway = await Gateway.start({
      files: { offset: "+0\n" },
      env: {
        LD_PRELOAD: preload!,
        FAKETIME_TIMESTAMP_FILE: "offset",
        FAKETIME_NO_CACHE: "1",
        // as when NTP or somebody sets it: the other clock goes on
        FAKETIME_DONT_FAKE_MONOTONIC: "1",
      },
      config: ({ port, admin }) => `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services:
  app: { endpoints: ["${origin.address}"] }
  two: { endpoints: ["${origin.address}", "${dead.address}"], policy: { balance: round-robin, ejection: { consecutive: 3, base: 60s } } }
routes:
  - { match: { path: /limited }, to: app, plugins: [{ rate-limit: { limit: 5/h, burst: 5 } }] }
  - { match: { path: /windowed }, to: app, plugins: [{ rate-limit: { limit: 5/h, algorithm: fixed-window, name: w } }] }
  - { match: { path: /token }, to: app, plugins: [{ jwt: { keys: [{ secret: "${secret}" }], algorithms: [HS256] } }] }
  - { match: { path: /cached }, to: app, plugins: [cache] }
  - { match: { path: /two }, to: two }
  - { match: { path: /silent }, to: app, policy: { timeout: 300ms, retry: { attempts: 0 } } }
  - { to: app, policy: { timeout: 10m } }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
    });
    client = await gateway.connect();
  });
  after(async () => {
    client?.destroy();
    await gateway?.[Symbol.asyncDispose]();
    await origin?.close();
    await dead?.close();
  });

  /** On one connection, kept through all jumps. */
  async function ask(where: string, fields = "") {
    await client.send(`GET ${where} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
    return client.response();
  }
  const show = async (jwt: string) =>
    (await ask("/token", `Authorization: Bearer ${jwt}\r\n`)).status;

  /** Seconds by which weft's clock is off, from its own Date field. */
  async function offsetS(): Promise<number> {
    const date = Date.parse((await ask("/silent")).header("date")!);
    return Math.round((date - Date.now()) / 1000);
  }

  async function jump(seconds: number): Promise<void> {
    fs.writeFileSync(path.join(gateway.folder, "offset"), `${seconds < 0 ? "" : "+"}${seconds}\n`);
    await eventually(`the clock to be ${seconds} s off`, async () => {
      return Math.abs((await offsetS()) - seconds) < 60;
    });
  }

  test("limits give nothing back, deadlines hold, and nothing expires that is not on the wall clock", async () => {
    const long = await token(2 * dayS);
    const short = await token(2 * hourS);
    for (let i = 0; i < 5; i++) {
      for (const where of ["/limited", "/windowed"]) assert.equal((await ask(where)).status, 200);
    }
    const cached = (await ask("/cached")).body;
    await eventually("an ejection", async () => {
      await ask("/two");
      return (await gateway.metric("weft_ejections_total", { service: "two" })) === 1;
    });
    using running = await gateway.connect();
    await running.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    await origin.until("the held request", () => origin.text.includes("GET /held"));

    for (const seconds of [hourS, dayS, 0, -hourS, -dayS, 0]) {
      await jump(seconds);
      for (const where of ["/limited", "/windowed"])
        assert.equal((await ask(where)).status, 429, `${where} at ${seconds} s`);
      const late = await ask("/silent");
      assert.deepEqual([late.status, late.code], [504, "deadline-exceeded"]);
      assert.equal((await ask("/cached")).body, cached, "what is kept is as old as it is");
      // tokens are valid by the wall clock, also those that were seen before
      assert.equal(await show(long), 200, `a token of two days at ${seconds} s`);
      assert.equal(
        await show(short),
        seconds === dayS ? 401 : 200,
        `one of two hours at ${seconds} s`,
      );
      const services = JSON.parse(await gateway.ask("/services")) as Listed[];
      const { endpoints } = services.find(({ name }) => name === "two")!;
      assert.equal(endpoints.filter(({ state }) => state === "ejected").length, 1);
      assert.ok(await gateway.isReady());
    }
    const held = origin.connections.find(({ text }) => text.includes("GET /held"))!;
    held.send(ok("held"));
    assert.equal((await running.response()).body, "held", "a request that ran through all of it");
    assert.equal(await gateway.metric("weft_worker_restarts_total"), 0);
    assert.equal(await gateway.stop(), 0);
  });
});
