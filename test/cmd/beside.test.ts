/** `weft mesh -- command`: the app starts when the sidecar is ready, hears its signals, and lends it its exit code. */

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually } from "../support/eventually.ts";
import { freePorts } from "../support/ports.ts";
import { root } from "../support/source-tree.ts";
import { weft } from "./cli.ts";

describe("weft mesh -- command", () => {
  let folder = "";
  const started: ChildProcess[] = [];
  before(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "weft-test-"));
    assert.equal((await weft(["cert", "ca", "--out", "ca"], { cwd: folder })).code, 0);
    const issue = ["cert", "issue", "--service", "orders", "--ca", "ca", "--out", "certs"];
    assert.equal((await weft(issue, { cwd: folder })).code, 0);
    const [outbound, inbound, admin, app] = await freePorts(4);
    writeFileSync(
      path.join(folder, "weft.yaml"),
      `mesh:
  service: orders
  app: 127.0.0.1:${app}
  outbound: 127.0.0.1:${outbound}
  inbound: 127.0.0.1:${inbound}
  identity: { cert: certs/orders.crt, key: certs/orders.key, bundle: certs/bundle.crt }
admin: { address: "127.0.0.1:${admin}" }
workers: 1
drainTimeout: 5s
`,
    );
    const ask = `fetch("http://127.0.0.1:${admin}/readyz").then((r) => r.status)`;
    writeFileSync(
      path.join(folder, "app.mjs"),
      `import fs from "node:fs";
const [how] = process.argv.slice(2);
process.on("SIGTERM", async () => {
  fs.writeFileSync("terminated", String(await ${ask}));
  process.exit(9);
});
fs.writeFileSync("ready-then", String(await ${ask}));
if (how === "end") process.exit(5);
if (how === "kill") process.kill(process.pid, "SIGKILL");
setInterval(() => {}, 1000);
`,
    );
  });
  after(() => {
    for (const child of started) child.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  });

  it("starts the app once the sidecar is ready, and exits with its code", async () => {
    const ended = await weft(["mesh", "--", process.execPath, "app.mjs", "end"], { cwd: folder });
    assert.equal(ended.code, 5);
    assert.equal(readFileSync(path.join(folder, "ready-then"), "utf8"), "200");
  });

  it("exits with 128 + n when a signal ended the app", async () => {
    const ended = await weft(["mesh", "--", process.execPath, "app.mjs", "kill"], { cwd: folder });
    assert.equal(ended.code, 137);
  });

  it("exits with 127 when there is no such program", async () => {
    const ended = await weft(["mesh", "--", "no-such-program-at-all"], { cwd: folder });
    assert.equal(ended.code, 127);
    assert.match(ended.stderr, /no-such-program-at-all/);
  });

  it("passes SIGTERM on, is not ready any more, and waits for the app", async () => {
    rmSync(path.join(folder, "ready-then"), { force: true });
    const argv = [path.join(root, "cmd/weft.ts"), "mesh", "--", process.execPath, "app.mjs"];
    const child = spawn(process.execPath, argv, { cwd: folder, stdio: "ignore" });
    started.push(child);
    await eventually("the app to run", () => existsSync(path.join(folder, "ready-then")));
    child.kill("SIGTERM");
    const [code] = (await once(child, "exit")) as [number | null];
    assert.equal(code, 9);
    assert.equal(readFileSync(path.join(folder, "terminated"), "utf8"), "503");
  });
});
