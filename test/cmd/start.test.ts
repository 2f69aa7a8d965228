/** Starting: what stands in the way is named, with the right exit code; what does not matter does not. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually } from "../support/eventually.ts";
import { freePorts } from "../support/ports.ts";
import { root } from "../support/source-tree.ts";
import { weft } from "./cli.ts";
import { get, simpleConfig, startSimple, Upstream } from "./serving.ts";

describe("starting", () => {
  let folder = "";
  before(() => (folder = mkdtempSync(path.join(tmpdir(), "weft-test-"))));
  after(() => rmSync(folder, { recursive: true }));
  const write = (text: string, name = "weft.yaml") => writeFileSync(path.join(folder, name), text);
  const gateway = (...args: string[]) => weft(["gateway", ...args], { cwd: folder });

  /** A port that something else listens on. */
  async function takenPort(host = "127.0.0.1", port = 0) {
    const server = net.createServer();
    server.listen(port, host);
    await once(server, "listening");
    return {
      port: (server.address() as net.AddressInfo).port,
      [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
    };
  }

  it("names a taken port in plain words, with exit code 3", async () => {
    await using taken = await takenPort();
    const [admin] = (await freePorts(1)) as [number];
    write(simpleConfig({ port: [taken.port], admin }, { upstream: 1 }));
    const { code, stderr } = await gateway();
    assert.equal(code, 3);
    assert.equal(
      stderr,
      `listener web: port ${taken.port} is taken by another process (127.0.0.1:${taken.port})\n`,
    );
  });

  it("notices a port that another weft listens on, though both share ports", async () => {
    await using upstream = await Upstream.start();
    await using first = await startSimple({ upstream: upstream.port });
    const [admin] = (await freePorts(1)) as [number];
    for (const host of ["127.0.0.1", null]) {
      const text = simpleConfig({ port: [first.port], admin }, { upstream: upstream.port });
      write(host === null ? text.replace("host: 127.0.0.1, ", "") : text);
      const { code, stderr } = await gateway();
      assert.equal(code, 3);
      assert.match(stderr, new RegExp(`port ${first.port} is taken`));
    }
  });

  it("names the admin port when that one is taken", async () => {
    await using taken = await takenPort();
    const [port] = (await freePorts(1)) as [number];
    write(simpleConfig({ port: [port], admin: taken.port }, { upstream: 1 }));
    const { code, stderr } = await gateway();
    assert.equal(code, 3);
    assert.match(stderr, new RegExp(`admin: port ${taken.port} is taken by another process`));
  });

  it("goes on without the usual admin port when nobody asked for it", async () => {
    await using _ = await takenPort("127.0.0.1", 9901).catch(() => takenPort());
    const [port] = (await freePorts(1)) as [number];
    const text = `gateway: { listeners: [{ host: 127.0.0.1, port: ${port} }] }`;
    write(`${text}\nroutes: [{ name: a, respond: { status: 204 } }]\nworkers: 1\n`);
    const child = spawn(process.execPath, [path.join(root, "cmd/weft.ts"), "gateway"], {
      cwd: folder,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
    try {
      await eventually("readiness", () => stderr.includes('"msg":"ready"'));
      assert.match(stderr, /no admin API: admin: port 9901 is taken by another process/);
      assert.equal((await get(port)).status, 204);
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("names an address that this machine does not have", async () => {
    const [port, admin] = (await freePorts(2)) as [number, number];
    const text = simpleConfig({ port: [port], admin }, { upstream: 1 });
    write(text.replace("host: 127.0.0.1", "host: 192.0.2.1"));
    const { code, stderr } = await gateway();
    assert.equal(code, 3);
    assert.match(stderr, /192\.0\.2\.1 is not an address of this machine/);
  });

  it("refuses a configuration that is wrong before it binds anything, with exit code 1", async () => {
    write("gateway: { listeners: [{ port: 8080 }] }\nroutes: [{ name: a, to: nobody }]\n");
    const { code, stderr } = await gateway();
    assert.equal(code, 1);
    assert.match(stderr, /^weft\.yaml:2:\d+: .*nobody/m);
  });

  it("shows what a plugin has against its options at their place", async () => {
    write(
      "gateway: { listeners: [{ port: 0 }] }\nroutes: [{ name: a, respond: { status: 200 }, plugins: [{ rate-limit: { limit: often } }] }]\n",
    );
    const { code, stderr } = await gateway();
    assert.equal(code, 1);
    assert.match(stderr, /^weft\.yaml:2:\d+: /m);
    assert.match(stderr, /limit/);
  });

  it("says which certificate cannot be used", async () => {
    write("not a certificate", "a.crt");
    write("not a key", "a.key");
    write(
      "gateway: { listeners: [{ port: 0, tls: { certificates: [{ cert: a.crt, key: a.key }] } }] }\nroutes: []\n",
    );
    const { code, stderr } = await gateway();
    assert.equal(code, 1);
    assert.match(stderr, /^weft\.yaml:1:\d+: .*certificates/m);
  });

  it("takes the file of the working folder when none is named", async () => {
    write("nonsense: 1\n", "weft.yaml");
    const { code, stderr } = await gateway();
    assert.equal(code, 1);
    assert.match(stderr, /^weft\.yaml:1:1: /m);
  });

  it("names a file that cannot be read", async () => {
    const { code, stderr } = await gateway("-c", folder);
    assert.equal(code, 1);
    assert.ok(stderr.startsWith(`${folder}: this is not a file`));
  });
});
