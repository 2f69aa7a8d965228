/** TCP listeners with all that a service has: PROXY headers, health, policies, limits, resets, reloads, drain. */

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import { after, before, test } from "node:test";
import { parseProxyHeader } from "../../proxy/listen/proxy-protocol.ts";
import { signed, testAuthority, type Pair } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { Origin, type OriginConnection, type Script } from "../support/origin.ts";
import { freePorts } from "../support/ports.ts";
import { RawClient } from "../support/raw-client.ts";

/** Says back what it hears. */
const repeating: Script = async (connection) => {
  connection.socket.on("data", (chunk: Buffer) => connection.socket.write(chunk));
  await connection.untilEnded();
  connection.end();
};

const names = [
  "plain",
  "v1",
  "v2",
  "over-tls",
  "chain",
  "idle",
  "short",
  "shy",
  "checked",
  "walled",
  "few",
  "ejecting",
  "patient",
  "flooding",
  "both",
  "named",
] as const;

const answerBytes = 8 * 1024 * 1024;

let origin: Origin;
let secure: Origin;
let patient: Origin;
let announcedTls: AnnouncedTls;
let flooding: Origin;
let gateway: Gateway;
let checked: Origin | null;
let checkedPort: number;
let refusing: number;
const portOf = (name: (typeof names)[number]): number => gateway.ports[names.indexOf(name)]!;

/** A TLS service that wants a PROXY header before the handshake, as nginx does with `proxy_protocol`. */
class AnnouncedTls {
  readonly server: net.Server;
  readonly headers: string[] = [];

  private constructor(pair: Pair) {
    this.server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (raw) => {
      raw.on("error", () => {});
      // byte by byte: what follows belongs to TLS
      raw.on("readable", () => {
        for (let text = ""; ;) {
          const byte = raw.read(1) as Buffer | null;
          if (byte === null) return raw.unshift(Buffer.from(text, "latin1"));
          text += byte.toString("latin1");
          if (!text.endsWith("\r\n")) continue;
          this.headers.push(text);
          raw.removeAllListeners("readable");
          const secure = new tls.TLSSocket(raw, {
            isServer: true,
            ...pair,
            allowHalfOpen: true,
          } as tls.TLSSocketOptions);
          secure.on("error", () => {});
          secure.on("data", (chunk: Buffer) => secure.write(chunk));
          secure.on("end", () => secure.end("bye\n"));
          return;
        }
      });
    });
  }

  static async start(pair: Pair): Promise<AnnouncedTls> {
    const made = new AnnouncedTls(pair);
    made.server.listen(0, "127.0.0.1");
    await once(made.server, "listening");
    return made;
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port;
  }
}

/** What comes back for one byte; rejects with the error of a connection that is reset, be it before it is open. */
async function answerOf(name: (typeof names)[number]): Promise<string> {
  using client = await RawClient.connect(portOf(name));
  await client.send("x");
  await client.until("an answer or an end", () => client.text !== "" || client.closed);
  if (client.text === "" && client.error !== null) throw client.error;
  return client.text;
}

/** Waits for a counter: a series that is new is announced by its worker. */
function counted(name: string, labels: Record<string, string>, value: number): Promise<true> {
  return eventually(
    `${name} to be ${value}`,
    async () => (await gateway.metric(name, labels)) === value,
  ) as Promise<true>;
}

/** The newest connection of a service, once it is there. */
async function newest(service: Origin, before: number): Promise<OriginConnection> {
  await service.until("a connection", () => service.connections.length > before);
  return service.connections.at(-1)!;
}

before(async () => {
  origin = await Origin.start(repeating);
  const authority = await testAuthority();
  const pair = await signed(authority, { dns: ["db.internal"] });
  secure = await Origin.start(repeating, { tls: pair });
  patient = await Origin.start(async (connection) => {
    await connection.untilEnded();
    connection.send(Buffer.alloc(answerBytes, 0x61));
    connection.end();
  });
  flooding = await Origin.start((connection) => {
    const more = (): void => {
      while (!connection.closed && connection.socket.write(Buffer.alloc(256 * 1024)));
    };
    connection.socket.on("drain", more);
    more();
  });
  announcedTls = await AnnouncedTls.start(pair);
  [checkedPort, refusing] = (await freePorts(2)) as [number, number];
  checked = null;
  gateway = await Gateway.start({
    ports: names.length,
    files: { "ca.crt": authority.cert },
    config: ({ port, admin }) => `
gateway:
  listeners:
${names
  .map((name, i) => {
    const more =
      name === "chain"
        ? ", proxyProtocol: true"
        : name === "walled"
          ? ", plugins: [{ ip-filter: { deny: [127.0.0.0/8] } }]"
          : name === "few"
            ? ", plugins: [{ concurrency: { limit: 2, by: client } }]"
            : "";
    if (name === "named")
      return `    - { name: named, host: 127.0.0.1, port: ${port[i]}, protocol: tls, sni: { db.example.com: v2 } }`;
    return `    - { name: ${name}, host: 127.0.0.1, port: ${port[i]}, protocol: tcp, to: ${name}${more} }`;
  })
  .join("\n")}
services:
  plain: { endpoints: ["${origin.address}"], protocol: tcp }
  v1: { endpoints: ["${origin.address}"], protocol: tcp, proxyProtocol: v1 }
  v2: { endpoints: ["${origin.address}"], protocol: tcp, proxyProtocol: v2 }
  over-tls: { endpoints: ["${secure.address}"], protocol: tcp, tls: { ca: ca.crt, serverName: db.internal } }
  both:
    endpoints: ["127.0.0.1:${announcedTls.port}"]
    protocol: tcp
    proxyProtocol: v1
    tls: { ca: ca.crt, serverName: db.internal }
  chain: { endpoints: ["${origin.address}"], protocol: tcp, proxyProtocol: v1 }
  idle: { endpoints: ["${origin.address}"], protocol: tcp, policy: { idleTimeout: 200ms } }
  short: { endpoints: ["${origin.address}"], protocol: tcp, policy: { totalTimeout: 300ms } }
  shy: { endpoints: ["127.0.0.1:${refusing}"], protocol: tcp, policy: { retry: { attempts: 0 } } }
  checked:
    endpoints: ["127.0.0.1:${checkedPort}"]
    protocol: tcp
    proxyProtocol: v2
    health: { interval: 50ms, healthy: 1, unhealthy: 1 }
  patient: { endpoints: ["${patient.address}"], protocol: tcp }
  flooding: { endpoints: ["${flooding.address}"], protocol: tcp }
  walled: { endpoints: ["${origin.address}"], protocol: tcp }
  few: { endpoints: ["${origin.address}"], protocol: tcp }
  ejecting:
    endpoints: ["127.0.0.1:${refusing}", "${origin.address}"]
    protocol: tcp
    policy: { balance: round-robin, ejection: { consecutive: 2, base: 60s } }
admin: { address: "127.0.0.1:${admin}" }
observe: { accessLog: { format: json } }
workers: 1
drainTimeout: 3s
`,
  });
});

after(async () => {
  await gateway.stop();
  await origin.close();
  await secure.close();
  await patient.close();
  announcedTls.server.close();
  await flooding.close();
  await checked?.close();
});

test("v1 names the caller and where it connected, before the first byte", async () => {
  const count = origin.connections.length;
  using client = await RawClient.connect(portOf("v1"));
  const { localPort } = client.socket;
  await client.send("hello");
  const line = `PROXY TCP4 127.0.0.1 127.0.0.1 ${localPort} ${portOf("v1")}\r\n`;
  assert.equal(await (await newest(origin, count)).has(`${line}hello`), line.length + 5);
});

test("a caller that waits for the service to speak is announced all the same", async () => {
  const count = origin.connections.length;
  using client = await RawClient.connect(portOf("v1"));
  await (await newest(origin, count)).has("\r\n");
  client.end();
});

test("v2 is a binary header with the connection's id, the one of the access log", async () => {
  const count = origin.connections.length;
  using client = await RawClient.connect(portOf("v2"));
  const { localPort } = client.socket;
  await client.send("hello");
  const connection = await newest(origin, count);
  await connection.has("hello");
  const bytes = Buffer.from(connection.text, "latin1");
  const header = parseProxyHeader(bytes);
  assert.equal(header.kind, "header");
  if (header.kind !== "header") return;
  const to = { address: "127.0.0.1", port: portOf("v2") };
  assert.deepEqual(header.source, { address: "127.0.0.1", port: localPort, to });
  assert.equal(bytes.toString("latin1", header.length), "hello");
  const id = bytes.toString("latin1", header.length - 32, header.length);
  client.end();
  await client.untilClosed();
  await eventually("the access line", () => gateway.stdout.includes(`"id":"${id}"`));
});

test("what a PROXY header in front said is handed on", async () => {
  const count = origin.connections.length;
  using client = await RawClient.connect(portOf("chain"));
  await client.send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 5432\r\nselect 1");
  const line = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 5432\r\n";
  await (await newest(origin, count)).has(`${line}select 1`);
});

test("TLS to the service, verified, with plain bytes from the caller", async () => {
  using client = await RawClient.connect(portOf("over-tls"));
  await client.send("over TLS");
  await client.has("over TLS");
});

test("a PROXY header goes before the service's TLS, and half-closes go through it", async () => {
  using client = await RawClient.connect(portOf("both"));
  await client.send("inside TLS\n");
  await client.has("inside TLS\n");
  const line = `PROXY TCP4 127.0.0.1 127.0.0.1 ${client.socket.localPort} ${portOf("both")}\r\n`;
  assert.deepEqual(announcedTls.headers, [line]);
  client.end();
  assert.equal(await client.untilEnded(), "inside TLS\nbye\n");
});

test("v2 tells the server name of TLS that passes through unopened", async () => {
  const count = origin.connections.length;
  const socket = tls.connect({
    port: portOf("named"),
    host: "127.0.0.1",
    servername: "db.example.com",
  });
  socket.on("error", () => {});
  const connection = await newest(origin, count);
  await connection.until("the ClientHello", () => connection.text.length > 200);
  const bytes = Buffer.from(connection.text, "latin1");
  const header = parseProxyHeader(bytes);
  assert.equal(header.kind, "header");
  if (header.kind !== "header") return;
  // the TLV of the authority: type, length, value
  const authority = `\x02\0\x0edb.example.com`;
  assert.ok(bytes.toString("latin1", 0, header.length).includes(authority));
  assert.equal(bytes[header.length], 0x16);
  socket.destroy();
});

test("an endpoint that refuses: the caller is reset, the line says why", async () => {
  await assert.rejects(answerOf("shy"), /ECONNRESET/);
  await eventually("the line", () =>
    /"code":"connect-refused"[^\n]*"service":"shy"[^\n]*"end":"error"[^\n]*refused/.test(
      gateway.stdout,
    ),
  );
});

test("an endpoint that keeps refusing is ejected, and nobody notices", async () => {
  for (let i = 0; i < 6; i++) {
    using client = await RawClient.connect(portOf("ejecting"));
    await client.send("x");
    await client.has("x");
  }
  const endpoint = `127.0.0.1:${refusing}`;
  const service = "ejecting";
  await counted("weft_ejections_total", { endpoint }, 1);
  await counted("weft_attempts_total", { service, endpoint, result: "connect-refused" }, 2);
  await counted("weft_retries_total", { service, reason: "connect-failure" }, 2);
});

test("a reset of the caller is a reset at the service", async () => {
  const count = origin.connections.length;
  const client = await RawClient.connect(portOf("plain"));
  await client.send("x");
  await client.has("x");
  const connection = await newest(origin, count);
  client.reset();
  await connection.untilClosed();
  assert.equal(connection.error?.code, "ECONNRESET");
  await eventually("the line", () => /"end":"client-aborted"/.test(gateway.stdout));
});

test("a reset of the service is a reset at the caller", async () => {
  const count = origin.connections.length;
  using client = await RawClient.connect(portOf("plain"));
  await client.send("x");
  await client.has("x");
  (await newest(origin, count)).reset();
  await client.untilClosed();
  assert.equal(client.error?.code, "ECONNRESET");
  await eventually("the line", () => /"end":"upstream-aborted"/.test(gateway.stdout));
});

test("the service's last bytes arrive though the caller has long ended, and then reads slowly", async () => {
  using client = await RawClient.connect(portOf("patient"));
  client.socket.pause();
  client.end();
  await (await newest(patient, 0)).untilEnded();
  client.socket.resume();
  assert.equal((await client.untilEnded()).length, answerBytes);
  assert.equal(client.error, null);
});

test("a caller that does not read holds the service up", async () => {
  using client = await RawClient.connect(portOf("flooding"));
  client.socket.pause();
  const connection = await newest(flooding, 0);
  let last = -1;
  // the sockets' own buffers fill up, and then nothing moves
  await eventually("the flow to stop", async () => {
    const now = connection.socket.bytesWritten - connection.socket.writableLength;
    const stopped = now === last;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, 100));
    return stopped;
  });
  assert.ok(last < 64 * 1024 * 1024, `${last} bytes went nowhere`);
});

test("no byte either way for the idle time: both are reset", async () => {
  const count = origin.connections.length;
  using client = await RawClient.connect(portOf("idle"));
  await client.send("x");
  await client.has("x");
  const connection = await newest(origin, count);
  await client.untilClosed();
  await connection.untilClosed();
  assert.deepEqual([client.error?.code, connection.error?.code], ["ECONNRESET", "ECONNRESET"]);
  await eventually("the line", () => gateway.stdout.includes("(idleTimeout)"));
});

test("bytes keep a connection open beyond the idle time", async () => {
  using client = await RawClient.connect(portOf("idle"));
  const startMs = performance.now();
  let sent = 0;
  while (performance.now() - startMs < 700) {
    await client.send("x");
    await client.bytes(++sent);
  }
  assert.equal(client.closed, false);
});

test("a connection lives no longer than totalTimeout, however busy", async () => {
  using client = await RawClient.connect(portOf("short"));
  const ticking = setInterval(() => client.socket.write("x"), 20);
  await client.untilClosed();
  clearInterval(ticking);
  await eventually("the line", () => gateway.stdout.includes("(totalTimeout)"));
});

test("a health check is a connection, announced as weft's own", async () => {
  const states = async (): Promise<string> => {
    const services = JSON.parse(await gateway.ask("/services")) as {
      services?: unknown;
    };
    return JSON.stringify(services);
  };
  await eventually("the endpoint to be unhealthy", async () =>
    /"checked".*?"state":"unhealthy"/.test(await states()),
  );
  await assert.rejects(answerOf("checked"), /ECONNRESET/);
  checked = await Origin.start(repeating, { port: checkedPort });
  await eventually("the endpoint to be healthy", async () =>
    /"checked"(?:(?!"endpoints").)*"endpoints":\[\{[^}]*"state":"healthy"/.test(await states()),
  );
  const probe = checked.connections[0]!;
  await probe.untilClosed();
  const header = parseProxyHeader(Buffer.from(probe.text, "latin1"));
  assert.deepEqual([header.kind, header.kind === "header" && header.source], ["header", null]);
  using second = await RawClient.connect(portOf("checked"));
  await second.send("now");
  await second.has("now");
});

test("an access list closes the door, and no endpoint hears of it", async () => {
  const count = origin.connections.length;
  await assert.rejects(answerOf("walled"), /ECONNRESET/);
  assert.equal(origin.connections.length, count);
  await eventually("the line", () =>
    /"code":"forbidden"[^\n]*127\.0\.0\.1 is not allowed here/.test(gateway.stdout),
  );
});

test("a caller has at most so many connections, and one that ends makes room", async () => {
  using first = await RawClient.connect(portOf("few"));
  await first.send("x");
  await first.has("x");
  using second = await RawClient.connect(portOf("few"));
  await second.send("x");
  await second.has("x");
  await assert.rejects(answerOf("few"), /ECONNRESET/);
  first.end();
  await first.untilClosed();
  await eventually("room for one more", () =>
    answerOf("few").then(
      (answer) => answer === "x",
      () => false,
    ),
  );
});

test("connections and their ends are counted", async () => {
  await counted("weft_tcp_connections_total", { listener: "v2", end: "complete" }, 1);
  await counted("weft_tcp_connection_duration_seconds_count", { listener: "v2" }, 1);
  await counted("weft_request_bytes_total", { listener: "v2" }, 5);
});

test("nothing is left of connections that are gone", async () => {
  for (const side of ["downstream", "upstream"])
    await eventually(`no connection ${side}`, async () => {
      return (await gateway.metric("weft_connections", { side })) === 0;
    });
});

test("an open connection outlives a reload that takes its listener and its service away", async () => {
  using client = await RawClient.connect(portOf("plain"));
  await client.send("before");
  await client.has("before");
  const file = path.join(gateway.folder, "weft.yaml");
  const text = fs.readFileSync(file, "utf8");
  const without = text
    .split("\n")
    .filter((line) => !/name: plain,|^ {2}plain:/.test(line))
    .join("\n");
  fs.writeFileSync(file, without);
  await eventually("the reload", async () =>
    (await gateway.ask("/config")).includes('"version":2'),
  );
  await eventually("the port to be closed", async () => {
    try {
      using late = await RawClient.connect(portOf("plain"));
      return late.closed;
    } catch {
      return true;
    }
  });
  await client.send("after");
  await client.has("after");
});

test("a drain lets open connections go on, and cuts what is left at its end", async () => {
  using client = await RawClient.connect(portOf("v1"));
  await client.has("");
  gateway.child.kill("SIGTERM");
  await eventually("draining", async () => {
    try {
      using late = await RawClient.connect(portOf("v1"));
      return late.closed;
    } catch {
      return true;
    }
  });
  await client.send("still here");
  await client.has("still here");
  await client.untilClosed();
  assert.equal(client.error?.code, "ECONNRESET");
});
