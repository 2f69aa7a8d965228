/** docs/mesh.md word for word: its commands and files, in a folder of their own, on free ports. */

import assert from "node:assert/strict";
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { eventually, within } from "../support/eventually.ts";
import { freePorts } from "../support/ports.ts";
import { root } from "../support/source-tree.ts";

const page = readFileSync(path.join(root, "docs/mesh.md"), "utf8");
const weft = path.join(root, "cmd/weft.ts");

/** The fenced block of this language that follows the given text. */
function block(after: string, language: string): string {
  const from = page.indexOf(after);
  assert.notEqual(from, -1, `docs/mesh.md says ${after}`);
  const start = page.indexOf(`\`\`\`${language}\n`, from);
  const body = start + language.length + 4;
  return page.slice(body, page.indexOf("```", body));
}

let folder: string;
let ports: ReadonlyMap<string, string>;
const running: { child: ChildProcess; ended: Promise<number | null>; output: string }[] = [];

/** The page's ports may be taken on this machine: each stands for a free one. */
function moved(text: string): string {
  return text.replace(/(?<=127\.0\.0\.1:|listen\()\d+/g, (port) => ports.get(port) ?? port);
}

function start(command: string): (typeof running)[number] {
  const [program, ...args] = moved(command).trim().split(/\s+/);
  assert.equal(program, "weft");
  const child = spawn(process.execPath, [weft, ...args], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const one = {
    child,
    ended: once(child, "exit").then(([code]) => code as number | null),
    output: "",
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (one.output += text));
  }
  running.push(one);
  return one;
}

async function ready(adminPort: string): Promise<void> {
  await eventually(`readiness on ${adminPort}`, async () => {
    const answer = await fetch(`http://127.0.0.1:${ports.get(adminPort)}/readyz`).catch(() => null);
    return answer?.status === 200;
  });
}

/** A request to the outbound port of web. */
function call(
  target: string,
  host: string,
  method = "GET",
  extra: http.OutgoingHttpHeaders = {},
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port: Number(ports.get("15001")),
      method,
      path: target,
      headers: { ...extra, host },
    };
    const request = http.request(options, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("end", () => resolve({ status: response.statusCode!, text }));
    });
    request.on("error", reject);
    request.end();
  });
}

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "weft-laptop-"));
  const named = ["15006", "15002", "3001", "9902", "15001", "9903"];
  const free = await freePorts(named.length);
  ports = new Map(named.map((port, index) => [port, String(free[index])]));
  for (const line of block("## An authority", "").trim().split("\n")) {
    const [, ...args] = line.split(/\s+/);
    await promisify(execFile)(process.execPath, [weft, ...args], { cwd: folder });
  }
  writeFileSync(path.join(folder, "orders.yaml"), moved(block("`orders.yaml`:", "yaml")));
  writeFileSync(path.join(folder, "orders.mjs"), moved(block("`orders.mjs`", "js")));
  writeFileSync(path.join(folder, "web.yaml"), moved(block("`web.yaml`:", "yaml")));
  start("weft mesh -c orders.yaml -- node orders.mjs");
  start("weft mesh -c web.yaml");
  await Promise.all([ready("9902"), ready("9903")]);
});

after(async () => {
  for (const { child, ended } of running) {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
});

describe("the mesh on a laptop", () => {
  it("says the commands that this test runs", () => {
    assert.match(page, /^weft mesh -c orders\.yaml -- node orders\.mjs$/m);
    assert.match(page, /^weft mesh -c web\.yaml$/m);
  });

  it("calls orders by name, by Host and as a proxy, and the app sees who called", async () => {
    const answer = await eventually("the app behind its sidecar", async () => {
      const { status, text } = await call("/1", "orders");
      return status === 200 ? text : null;
    });
    assert.equal(answer, "orders, called by spiffe://weft.local/service/web\n");
    assert.ok(page.includes(`\`\`\`\n${answer}\`\`\``), "the page shows this answer");
    const proxied = await call("http://orders/1", "orders");
    assert.deepEqual([proxied.status, proxied.text], [200, answer]);
    const withPort = await call("/1", "orders:80");
    assert.equal(withPort.status, 200);
  });

  it("denies what no rule allows, and names the rule", async () => {
    const { status, text } = await call("/1", "orders", "POST");
    assert.equal(status, 403);
    assert.equal(JSON.parse(text).code, "forbidden");
  });

  it("nobody can claim to be a peer from outside", async () => {
    const forged = { "x-weft-peer": "spiffe://weft.local/service/admin" };
    const { text } = await call("/1", "orders", "GET", forged);
    assert.equal(text, "orders, called by spiffe://weft.local/service/web\n");
  });

  it("ends with the app's exit code after a signal, and the other sidecar with 0", async () => {
    const [orders, web] = running as [(typeof running)[number], (typeof running)[number]];
    orders.child.kill("SIGTERM");
    // node has no handler for SIGTERM: 128 + 15
    assert.equal(await within("the sidecar of orders", orders.ended), 143, orders.output);
    web.child.kill("SIGTERM");
    assert.equal(await within("the sidecar of web", web.ended), 0, web.output);
  });
});
