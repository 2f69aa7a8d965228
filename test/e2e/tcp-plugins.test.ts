/** Plugins of connections (`defineTcpPlugin`): every hook, on tcp, tls and TLS-terminating listeners, and what a bug costs. */

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import tls from "node:tls";
import { signed, testAuthority } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { Origin } from "../support/origin.ts";
import { freePorts } from "../support/ports.ts";
import { RawClient } from "../support/raw-client.ts";
import { root } from "../support/source-tree.ts";

/** Writes down everything that it sees; `refuse` names the hook that rejects. */
const witness = `
import { defineTcpPlugin, reject, slot } from "weft/plugin";
import { z } from "zod";
const Count = slot("count");
const witness = defineTcpPlugin({
  name: "witness",
  config: z.object({ refuse: z.string().default("") }),
  peek: { bytes: 4, timeoutMs: 100 },
  setup({ refuse }, host) {
    const say = (conn, text) => host.log.info("seen " + conn.listener + " " + text);
    const or = (hook) => (refuse === hook ? reject("by " + hook) : undefined);
    return {
      async accept(conn) {
        await null;
        conn.set(Count, 0);
        say(conn, "accept " + conn.serverName + " " + (conn.client.tls?.version ?? "plain"));
        return or("accept");
      },
      peek(first, conn) {
        say(conn, "peek " + Buffer.from(first).toString("latin1").slice(0, 4));
        return or("peek");
      },
      attempt(attempt, conn) {
        say(conn, "attempt " + attempt.number + " " + attempt.previous);
        return or("attempt");
      },
      data(chunk, from, conn) {
        conn.set(Count, conn.get(Count) + 1);
        const text = Buffer.from(chunk).toString("latin1");
        if (text.includes("REFUSE")) return reject("a word");
        if (text.includes("DROP")) {
          say(conn, "drop");
          return new Uint8Array(0);
        }
        if (from === "downstream") return Buffer.from(text.toUpperCase(), "latin1");
      },
      done(info, conn) {
        say(conn, "done " + info.end + " " + info.requestBytes + "/" + info.responseBytes +
          " counted " + (conn.get(Count) > 0) + " at " + (info.endpoint === null ? "none" : "one") + " " + info.detail);
      },
      close() { host.log.info("seen close"); },
    };
  },
});
export { witness as default };
`;

/** Throws where it is told to. */
const buggy = `
import { defineTcpPlugin } from "weft/plugin";
import { z } from "zod";
const buggy = defineTcpPlugin({
  name: "buggy",
  config: z.object({ where: z.string() }),
  setup({ where }) {
    const fail = (hook) => { if (hook === where) throw new Error("a bug in " + hook); };
    return {
      accept: () => fail("accept"),
      data: (chunk) => { if (Buffer.from(chunk).includes("BUG")) fail("data"); },
      done: () => fail("done"),
    };
  },
});
export { buggy as default };
`;

const names = [
  "seen",
  "through",
  "ended",
  "no-accept",
  "no-peek",
  "no-attempt",
  "again",
  "bug-accept",
  "bug-data",
  "bug-open",
  "bug-done",
  "postgres",
] as const;
const portOf = (name: (typeof names)[number]): number => gateway.ports[names.indexOf(name)]!;

let origin: Origin;
let secure: Origin;
let gateway: Gateway;

before(async () => {
  origin = await Origin.start(async (connection) => {
    connection.socket.on("data", (chunk: Buffer) => connection.socket.write(chunk));
    await connection.untilEnded();
    connection.end();
  });
  const pair = await signed(await testAuthority(), { dns: ["a.example.com"] });
  secure = await Origin.start(
    async (connection) => {
      connection.send("inside\n");
      await connection.untilEnded();
      connection.end();
    },
    { tls: pair },
  );
  const [nobody] = await freePorts(1);
  const kinds: Partial<Record<(typeof names)[number], string>> = {
    seen: "protocol: tcp, to: echo, plugins: [./witness.ts]",
    through: "protocol: tls, sni: { a.example.com: inner }, plugins: [./quiet.ts]",
    ended:
      "protocol: tcp, to: echo, tls: { certificates: [{ cert: a.crt, key: a.key }] }, plugins: [./witness.ts]",
    "no-accept": "protocol: tcp, to: echo, plugins: [./witness.ts: { refuse: accept }]",
    "no-peek": "protocol: tcp, to: echo, plugins: [./witness.ts: { refuse: peek }]",
    "no-attempt": "protocol: tcp, to: echo, plugins: [./witness.ts: { refuse: attempt }]",
    again: "protocol: tcp, to: half, plugins: [./witness.ts]",
    "bug-accept": "protocol: tcp, to: echo, plugins: [./buggy.ts: { where: accept }]",
    "bug-data": "protocol: tcp, to: echo, plugins: [./buggy.ts: { where: data }]",
    "bug-open":
      "protocol: tcp, to: echo, plugins: [{ ./buggy.ts: { where: data }, onError: open }]",
    "bug-done": "protocol: tcp, to: echo, plugins: [./buggy.ts: { where: done }]",
    postgres: "protocol: tcp, to: echo, plugins: [./postgres-door.ts: { users: [app] }]",
  };
  gateway = await Gateway.start({
    ports: names.length,
    files: {
      "witness.ts": witness,
      "quiet.ts": witness
        .replace("peek: { bytes: 4, timeoutMs: 100 },", "")
        .replace(/data\(chunk[^]*?\n {6}\},\n/, "")
        .replace('name: "witness"', 'name: "quiet"'),
      "buggy.ts": buggy,
      "postgres-door.ts": fs.readFileSync(
        path.join(root, "examples/plugins/postgres-door.ts"),
        "utf8",
      ),
      "a.crt": pair.cert,
      "a.key": pair.key,
    },
    config: ({ port, admin }) => `
gateway:
  listeners:
${names.map((name, i) => `    - { name: ${name}, host: 127.0.0.1, port: ${port[i]}, ${kinds[name]} }`).join("\n")}
services:
  echo: { endpoints: ["${origin.address}"], protocol: tcp }
  half:
    endpoints: ["127.0.0.1:${nobody}", "${origin.address}"]
    protocol: tcp
    policy: { balance: round-robin }
  inner: { endpoints: ["${secure.address}"], protocol: tcp }
admin: { address: "127.0.0.1:${admin}" }
observe: { accessLog: { format: json } }
workers: 1
`,
  });
});
after(async () => {
  await gateway.stop();
  await origin.close();
  await secure.close();
});

/** What the witness has said of a listener, in order. */
function seen(listener: string): string[] {
  return [...(gateway.stdout + gateway.stderr).matchAll(/"seen ([^"]*)"/g)]
    .map((match) => match[1]!)
    .filter((text) => text.startsWith(`${listener} `))
    .map((text) => text.slice(listener.length + 1));
}

function done(listener: string): Promise<string[]> {
  return eventually(`the end of ${listener}`, () => {
    const all = seen(listener);
    return all.some((text) => text.startsWith("done")) ? all : null;
  });
}

/** True when the connection is cut without an answer to `bytes`. */
async function isCut(name: (typeof names)[number], bytes: string): Promise<boolean> {
  const client = await RawClient.connect(portOf(name)).catch(() => null);
  if (client === null) return true;
  using open = client;
  await open.send(bytes);
  await open.until("an answer or an end", () => open.text !== "" || open.closed);
  return open.text === "" && open.error?.code === "ECONNRESET";
}

test("every hook has its turn, and chunks are changed and dropped", async () => {
  using client = await RawClient.connect(portOf("seen"));
  await client.send("hello");
  await client.has("HELLO");
  await client.send("DROP me");
  await eventually("the drop", () => seen("seen").includes("drop"));
  await client.send("more");
  await client.has("HELLOMORE");
  client.end();
  await client.untilClosed();
  assert.deepEqual(await done("seen"), [
    "accept null plain",
    "peek hell",
    "attempt 1 null",
    "drop",
    // bytes are counted as they came in: "DROP me" among them
    "done complete 16/9 counted true at one ",
  ]);
});

test("a data hook may end the connection in the middle of it", async () => {
  using client = await RawClient.connect(portOf("seen"));
  await client.send("good");
  await client.has("GOOD");
  await client.send("REFUSE");
  await client.untilClosed();
  assert.equal(client.error?.code, "ECONNRESET");
  assert.ok(!origin.text.includes("REFUSE"));
  await eventually("its end", () => seen("seen").some((text) => /^done error.*a word/.test(text)));
});

test("TLS that passes through: the server name is known from peek on, bytes stay as they are", async () => {
  using client = await RawClient.connect(portOf("through"), {
    tls: { servername: "a.example.com" },
  });
  await client.has("inside\n");
  client.destroy();
  const all = await done("through");
  assert.equal(all[0], "accept null plain");
  assert.match(all.at(-1)!, /^done/);
});

test("TLS that ends here: the hooks see who calls, and plain bytes", async () => {
  using client = await RawClient.connect(portOf("ended"), {
    tls: { servername: "a.example.com" },
  });
  await client.send("over tls");
  await client.has("OVER TLS");
  assert.ok(client.socket instanceof tls.TLSSocket);
  assert.deepEqual(seen("ended").slice(0, 2), ["accept a.example.com TLSv1.3", "peek over"]);
});

describe("a rejection closes the connection and keeps it from the service:", () => {
  for (const hook of ["accept", "peek", "attempt"] as const) {
    test(hook, async () => {
      const count = origin.connections.length;
      assert.equal(await isCut(`no-${hook}`, "hello"), true);
      assert.equal(origin.connections.length, count);
      const all = await done(`no-${hook}`);
      assert.match(all.at(-1)!, new RegExp(`^done error 0/0 .* by ${hook}$`));
    });
  }
});

test("a second try is announced with what went wrong before", async () => {
  for (let i = 0; i < 2; i++) {
    using client = await RawClient.connect(portOf("again"));
    await client.send("hello");
    await client.has("HELLO");
  }
  assert.ok(seen("again").includes("attempt 2 connect-refused"));
});

describe("a bug costs one connection, never the process:", () => {
  test("in accept", async () => {
    assert.equal(await isCut("bug-accept", "x"), true);
    assert.equal(gateway.child.exitCode, null);
    await eventually("the bug to be counted", async () => {
      return (await gateway.metric("weft_plugin_errors_total", { plugin: "buggy" })) >= 1;
    });
  });

  test("in data, with other connections untouched", async () => {
    using other = await RawClient.connect(portOf("bug-data"));
    await other.send("fine");
    await other.has("fine");
    assert.equal(await isCut("bug-data", "BUG"), true);
    await other.send(" still");
    await other.has("fine still");
  });

  test("and none where the plugin fails open", async () => {
    using client = await RawClient.connect(portOf("bug-open"));
    await client.send("a BUG passes");
    await client.has("a BUG passes");
  });

  test("in done: the connection had ended anyway", async () => {
    using client = await RawClient.connect(portOf("bug-done"));
    await client.send("x");
    await client.has("x");
    client.end();
    assert.equal(await client.untilEnded(), "x");
    await eventually("the log line", () =>
      (gateway.stdout + gateway.stderr).includes("a bug in done"),
    );
  });
});

describe("the example of the documentation:", () => {
  /** The first message of a client of Postgres. */
  function startup(user: string): Buffer {
    const words = Buffer.from(`user\0${user}\0database\0shop\0\0`);
    const head = Buffer.alloc(8);
    head.writeUInt32BE(8 + words.length, 0);
    head.writeUInt32BE(196_608, 4);
    return Buffer.concat([head, words]);
  }

  test("lets its users in and counts their bytes", async () => {
    using client = await RawClient.connect(portOf("postgres"));
    await client.send(startup("app"));
    await client.bytes(startup("app").length);
    client.end();
    await client.untilClosed();
    await eventually("the count", async () => {
      const bytes = await gateway.metric("weft_postgres_bytes_total", { user: "app" });
      return bytes === 2 * startup("app").length;
    });
  });

  test("keeps others out", async () => {
    assert.equal(await isCut("postgres", startup("mallory").toString("latin1")), true);
    assert.equal(await isCut("postgres", "GET / HTTP/1.1\r\n\r\n"), true);
  });
});

test("an instance goes with its configuration, once its last connection has ended", async () => {
  using client = await RawClient.connect(portOf("seen"));
  await client.send("here");
  await client.has("HERE");
  const file = path.join(gateway.folder, "weft.yaml");
  const text = fs
    .readFileSync(file, "utf8")
    .replaceAll(/, plugins: \[\.\/witness\.ts[^\n]*\] \}$/gm, " }");
  fs.writeFileSync(file, text);
  await eventually("a connection without plugins", async () => {
    const plain = await RawClient.connect(portOf("seen"));
    await plain.send("x");
    await plain.until("an answer or an end", () => plain.text !== "" || plain.closed);
    plain.destroy();
    return plain.text === "x";
  });
  // the old connection still runs through it
  await client.send("still");
  await client.has("HERESTILL");
  const closes = (): number => (gateway.stdout + gateway.stderr).split('"seen close"').length - 1;
  assert.equal(closes(), 0);
  client.end();
  await client.untilClosed();
  await eventually("the instance to be closed", () => closes() > 0);
});
