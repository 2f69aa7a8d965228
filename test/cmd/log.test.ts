/** A log that nobody reads, or that cannot be written, stops no traffic and no exit. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { LineWriter } from "../../cmd/line-writer.ts";
import { LogSink } from "../../cmd/log.ts";
import { eventually, within } from "../support/eventually.ts";
import { freePorts } from "../support/ports.ts";
import { root } from "../support/source-tree.ts";
import { get, simpleConfig, startSimple, Upstream } from "./serving.ts";

const accessLog = "observe: { accessLog: { format: json } }";

describe("the access log", () => {
  it("goes to stdout as JSON lines", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port, extra: accessLog });
    await get(gateway.port, "/one");
    await eventually("the line", () => gateway.stdout.endsWith("\n"));
    const line = JSON.parse(gateway.stdout) as Record<string, unknown>;
    assert.equal(line["path"], "/one");
    assert.equal(line["status"], 200);
  });

  it("is complete when the process ends", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port, extra: accessLog });
    for (let i = 0; i < 20; i++) await get(gateway.port, `/${i}`);
    assert.equal(await gateway.stop(), 0);
    assert.equal(gateway.stdout.split("\n").length, 21);
  });

  it("loses lines, and nothing else, while its pipe is blocked", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({
      upstream: upstream.port,
      extra: `${accessLog}\ndrainTimeout: 2s`,
    });
    gateway.child.stdout!.pause();
    const long = `/${"x".repeat(8000)}`;
    await eventually("lines to be dropped", async () => {
      const answers = await Promise.all(Array.from({ length: 50 }, () => get(gateway.port, long)));
      assert.ok(answers.every(({ status }) => status === 200));
      return (await gateway.metric("weft_log_lines_dropped_total", { log: "access" })) > 0;
    });
    assert.equal(await gateway.stop(), 0);
  });

  it("outlives its reader", async () => {
    await using upstream = await Upstream.start();
    await using gateway = await startSimple({ upstream: upstream.port, extra: accessLog });
    gateway.child.stdout!.destroy();
    await eventually("lines to be dropped", async () => {
      assert.equal((await get(gateway.port)).status, 200);
      return (await gateway.metric("weft_log_lines_dropped_total", { log: "access" })) > 0;
    });
    assert.equal(await gateway.stop(), 0);
  });

  it("outlives a full disk", async () => {
    await using upstream = await Upstream.start();
    const [port, admin] = (await freePorts(2)) as [number, number];
    const folder = mkdtempSync(path.join(tmpdir(), "weft-test-"));
    const file = path.join(folder, "weft.yaml");
    writeFileSync(
      file,
      simpleConfig({ port: [port], admin }, { upstream: upstream.port, extra: accessLog }),
    );
    const full = openSync("/dev/full", "w");
    const argv = [path.join(root, "cmd/weft.ts"), "gateway", "-c", file];
    const child = spawn(process.execPath, argv, { stdio: ["ignore", full, full] });
    closeSync(full);
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    try {
      const status = await eventually("an answer", () =>
        get(port).then(
          (answer) => answer.status,
          () => null,
        ),
      );
      assert.equal(status, 200);
      await eventually("lines to be dropped", async () => {
        const { body } = await get(admin, "/metrics").catch(() => ({ body: "" }));
        return /weft_log_lines_dropped_total\{log="access"\} [1-9]/.test(body);
      });
      child.kill("SIGTERM");
      assert.equal(await within("weft to end", ended), 0);
    } finally {
      child.kill("SIGKILL");
      rmSync(folder, { recursive: true });
    }
  });
});

describe("LineWriter", () => {
  it("writes everything in order", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "weft-test-"));
    const file = path.join(folder, "log");
    const fd = openSync(file, "w");
    const writer = new LineWriter(fd);
    for (let i = 0; i < 5000; i++) writer.write(`line ${i}\n`);
    await writer.flush(10_000);
    const lines = readFileSync(file, "utf8").split("\n");
    assert.equal(lines.length, 5001);
    assert.equal(lines[4999], "line 4999");
    assert.equal(writer.dropped, 0);
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });

  it("counts every line that it drops", async () => {
    const fd = openSync("/dev/null", "w");
    const writer = new LineWriter(fd, 10);
    writer.write("a\nb\nc\n");
    writer.write("d\ne\nf\ng\n");
    writer.write("h\ni\nj\nk\nl\nm\n");
    assert.equal(writer.dropped, 6);
    // what is under way would reach whatever gets this descriptor's number next
    await writer.flush(10_000);
    closeSync(fd);
  });
});

describe("LogSink", () => {
  const lines = async (options: { pretty: boolean; level: "info" | "warn" }) => {
    const folder = mkdtempSync(path.join(tmpdir(), "weft-test-"));
    const file = path.join(folder, "log");
    const appFd = openSync(file, "w");
    const sink = new LogSink({ ...options, appFd, accessFd: appFd });
    sink.info("said by \u001b[31ma stranger", { path: "/a b", token: "secret" });
    sink.warn("second", { count: 2 });
    await sink.flush(10_000);
    closeSync(appFd);
    const text = readFileSync(file, "utf8");
    rmSync(folder, { recursive: true });
    return text.split("\n").slice(0, -1);
  };

  it("writes JSON lines, secrets hidden, from its level on", async () => {
    const all = await lines({ pretty: false, level: "info" });
    const first = JSON.parse(all[0]!) as Record<string, unknown>;
    assert.equal(first["level"], "info");
    assert.equal(first["token"], "[Redacted]");
    assert.equal((await lines({ pretty: false, level: "warn" })).length, 1);
  });

  it("writes readable lines for a terminal, which no text can steer", async () => {
    const [first, second] = await lines({ pretty: true, level: "info" });
    assert.match(first!, /^[\d:.]{12} INFO  said by \?\[31ma stranger {2}path="\/a b"/);
    assert.match(second!, /^[\d:.]{12} WARN  second {2}count=2$/);
  });
});
