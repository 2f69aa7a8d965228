/** One port for everything (`protocol: auto`): HTTP, TLS and the rest, and services that speak first. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import http2 from "node:http2";
import tls from "node:tls";
import { signed, testAuthority, type Pair } from "../support/certificates.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { answering, ok, Origin } from "../support/origin.ts";
import { RawClient } from "../support/raw-client.ts";

let web: Origin;
/** Speaks first, then repeats what it hears. */
let mail: Origin;
/** Says nothing until it is spoken to. */
let shy: Origin;
let inner: Origin;
let pair: Pair;
let gateway: Gateway;

const listeners = ["all", "first", "quiet", "httponly", "guarded", "behind"] as const;
const portOf = (name: (typeof listeners)[number]): number =>
  gateway.ports[listeners.indexOf(name)]!;

before(async () => {
  const authority = await testAuthority();
  pair = await signed(authority, { dns: ["front.example.com"] });
  const innerPair = await signed(authority, { dns: ["inner.example.com"] });
  web = await Origin.start(answering(() => ok("web")));
  mail = await Origin.start(async (connection) => {
    connection.send("220 ready\r\n");
    connection.socket.on("data", (chunk: Buffer) => connection.socket.write(chunk));
    await connection.untilEnded();
    connection.end();
  });
  shy = await Origin.start(async (connection) => {
    connection.socket.on("data", (chunk: Buffer) => connection.socket.write(chunk));
    await connection.untilEnded();
    connection.end();
  });
  inner = await Origin.start(
    async (connection) => {
      connection.send("inner\n");
      await connection.untilEnded();
      connection.end();
    },
    { tls: innerPair },
  );
  gateway = await Gateway.start({
    ports: listeners.length,
    files: { "front.crt": pair.cert, "front.key": pair.key },
    config: ({ port, admin }) => `
gateway:
  listeners:
    - name: all
      host: 127.0.0.1
      port: ${port[0]}
      protocol: auto
      to: shy
      sni: { inner.example.com: inner }
      tls: { certificates: [{ cert: front.crt, key: front.key }] }
    - { name: first, host: 127.0.0.1, port: ${port[1]}, protocol: auto, to: mail }
    - { name: quiet, host: 127.0.0.1, port: ${port[2]}, protocol: auto, to: shy }
    - { name: httponly, host: 127.0.0.1, port: ${port[3]}, protocol: auto }
    - name: guarded
      host: 127.0.0.1
      port: ${port[4]}
      protocol: auto
      to: shy
      plugins: [{ concurrency: { limit: 1, by: route } }]
    - name: behind
      host: 127.0.0.1
      port: ${port[5]}
      protocol: auto
      to: shy
      proxyProtocol: true
      tls: { certificates: [{ cert: front.crt, key: front.key }] }
services:
  web: { endpoints: ["${web.address}"] }
  mail: { endpoints: ["${mail.address}"], protocol: tcp }
  shy: { endpoints: ["${shy.address}"], protocol: tcp }
  inner: { endpoints: ["${inner.address}"], protocol: tcp }
routes:
  - { name: web, to: web }
admin: { address: "127.0.0.1:${admin}" }
observe: { accessLog: { format: json } }
workers: 1
`,
  });
});
after(async () => {
  await gateway.stop();
  for (const origin of [web, mail, shy, inner]) await origin.close();
});

const get = "GET / HTTP/1.1\r\nHost: front.example.com\r\n\r\n";

function secure(servername: string, options: tls.ConnectionOptions = {}): Promise<RawClient> {
  return RawClient.connect(portOf("all"), { tls: { servername, ...options } });
}

/** GET over HTTP/2, by prior knowledge or ALPN. */
async function getOverHttp2(url: string): Promise<string> {
  const session = http2.connect(url, { rejectUnauthorized: false });
  try {
    const stream = session.request({ ":path": "/" });
    let body = "";
    for await (const chunk of stream) body += String(chunk);
    return body;
  } finally {
    session.close();
  }
}

describe("one port takes", () => {
  test("HTTP/1.1, whole and byte by byte", async () => {
    for (const pieces of ["whole", "bytes"] as const) {
      using client = await RawClient.connect(portOf("all"));
      await client.send(get, pieces);
      assert.equal((await client.response()).body, "web");
      // and it is an ordinary connection of HTTP from then on
      await client.send(get);
      assert.equal((await client.response()).status, 200);
    }
  });

  test("HTTP/1.1 whose caller ends its side at once", async () => {
    using client = await RawClient.connect(portOf("all"));
    await client.send(get);
    client.end();
    assert.equal((await client.response()).body, "web");
  });

  test("HTTP/2 by prior knowledge", async () => {
    assert.equal(await getOverHttp2(`http://127.0.0.1:${portOf("all")}`), "web");
  });

  test("HTTPS, with either version", async () => {
    assert.equal(await getOverHttp2(`https://127.0.0.1:${portOf("all")}`), "web");
    using client = await secure("front.example.com");
    await client.send(get);
    assert.equal((await client.response()).body, "web");
    using named = await secure("front.example.com", { ALPNProtocols: ["http/1.1"] });
    await named.send(get);
    assert.equal((await named.response()).body, "web");
  });

  test("TLS for a name that passes through unopened", async () => {
    using client = await secure("inner.example.com");
    await client.has("inner\n");
  });

  test("anything else, in the clear and inside TLS", async () => {
    using plain = await RawClient.connect(portOf("all"));
    await plain.send("*1\r\n$4\r\nPING\r\n");
    await plain.has("PING\r\n");
    using inside = await secure("front.example.com");
    await inside.send("\0\0\0\x08abcd");
    await inside.has("abcd");
  });

  test("TLS without certificates of our own, as it came", async () => {
    using client = await RawClient.connect(portOf("quiet"));
    const hello = Buffer.from("1603010005010000010300", "hex");
    await client.send(hello.subarray(0, 10));
    await client.bytes(10);
    assert.equal(client.text.charCodeAt(0), 0x16);
  });
});

describe("a service that speaks first", () => {
  test("is heard though its caller says nothing", async () => {
    using client = await RawClient.connect(portOf("first"));
    await client.has("220 ready\r\n");
    await client.send("EHLO a\r\n");
    await client.has("EHLO a\r\n");
  });

  test("does not drown the requests of others on its port", async () => {
    for (let i = 0; i < 4; i++) {
      using http = await RawClient.connect(portOf("first"));
      await http.send(get);
      // the first one comes to a port that has had none: its caller must be quicker than the service
      await http.until("an answer", () => http.text !== "");
    }
    using http = await RawClient.connect(portOf("first"));
    await http.send(get);
    assert.equal((await http.response()).body, "web");
    using client = await RawClient.connect(portOf("first"));
    await client.has("220 ready\r\n");
  });

  test("is heard after the detection time on a port that has had nothing but HTTP", async () => {
    for (let i = 0; i < 20; i++) {
      using http = await RawClient.connect(portOf("first"));
      await http.send(get);
      assert.equal((await http.response()).body, "web");
    }
    // by now it is not called ahead any more
    const count = mail.connections.length;
    using http = await RawClient.connect(portOf("first"));
    await http.send(get);
    assert.equal((await http.response()).body, "web");
    assert.equal(mail.connections.length, count);
    using client = await RawClient.connect(portOf("first"));
    await client.has("220 ready\r\n");
  });
});

describe("silence decides nothing:", () => {
  test("a caller that speaks late is understood all the same", async () => {
    const count = shy.connections.length;
    using client = await RawClient.connect(portOf("quiet"));
    // the service has been called, after the detection time at the latest, and says nothing either
    await shy.until("the call", () => shy.connections.length > count);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await client.send(get);
    assert.equal((await client.response()).body, "web");
    // who was called in vain is let go
    await shy.connections.at(-1)!.untilEnded();
    assert.equal(shy.connections.at(-1)!.text, "");
  });

  test("a caller that goes without a word leaves nothing behind", async () => {
    const client = await RawClient.connect(portOf("quiet"));
    client.end();
    await client.untilClosed();
    await eventually("every tunnel to be gone", () => shy.open === 0);
  });
});

test("a port without a service for the rest takes HTTP and closes on what is neither", async () => {
  using client = await RawClient.connect(portOf("httponly"));
  await client.send(get);
  assert.equal((await client.response()).body, "web");
  using other = await RawClient.connect(portOf("httponly"));
  await other.send("\0\0\0\x08");
  await other.untilClosed();
  assert.equal(other.text, "");
});

test("behind a load balancer the PROXY header comes first, whatever follows it", async () => {
  const header = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
  using http = await RawClient.connect(portOf("behind"));
  await http.send(`${header}${get}`);
  assert.equal((await http.response()).body, "web");
  assert.match(web.text, /x-forwarded-for: 192\.0\.2\.7\r\n/i);
  using other = await RawClient.connect(portOf("behind"));
  await other.send(`${header}*1\r\n`);
  await other.has("*1\r\n");
  const plain = await RawClient.connect(portOf("behind"));
  await plain.send(header);
  const secured = tls.connect({ socket: plain.socket, rejectUnauthorized: false });
  secured.write(get);
  let answer = "";
  for await (const chunk of secured) {
    answer += String(chunk);
    if (answer.endsWith("web")) break;
  }
  assert.match(answer, /^HTTP\/1\.1 200/);
});

test("whatever comes, cut off wherever, nothing is left of it", async () => {
  const beginnings = [
    get,
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "*1\r\n$4\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "\x16",
    "",
    "GET",
  ];
  const clients: RawClient[] = [];
  for (let round = 0; round < 20; round++) {
    for (const [i, text] of beginnings.entries()) {
      const client = await RawClient.connect(portOf(i % 2 === 0 ? "all" : "first"));
      clients.push(client);
      await client.send(text.slice(0, 1 + ((round * 7 + i) % Math.max(1, text.length))));
      // at once, or when weft has had time to do something with it
      if (round % 3 === 0) client.reset();
      else if (round % 3 === 1) client.end();
      else setTimeout(() => client.destroy(), round * 15);
    }
  }
  await Promise.all(
    clients.map((client) => eventually("the end", () => client.ended || client.closed)),
  );
  for (const client of clients) client.destroy();
  for (const side of ["downstream", "upstream"])
    await eventually(`no connection ${side}`, async () => {
      // the pool of the HTTP service keeps what it has
      return (
        (await gateway.metric("weft_connections", { side })) <= (side === "upstream" ? web.open : 0)
      );
    });
  await eventually("no tunnel", () => shy.open + mail.open === 0);
  assert.equal(gateway.child.exitCode, null);
  using http = await RawClient.connect(portOf("all"));
  await http.send(get);
  assert.equal((await http.response()).body, "web");
});

test("plugins of the port count connections of HTTP too, until they end", async () => {
  const http = await RawClient.connect(portOf("guarded"));
  await http.send(get);
  assert.equal((await http.response()).body, "web");
  await assert.rejects(async () => {
    using refused = await RawClient.connect(portOf("guarded"));
    await refused.untilClosed();
    if (refused.error !== null) throw refused.error;
  }, /ECONNRESET/);
  http.destroy();
  await eventually("room again", async () => {
    using client = await RawClient.connect(portOf("guarded")).catch(() => null);
    if (client === null) return false;
    await client.send("x1\n");
    await client.until("an answer or an end", () => client.text !== "" || client.closed);
    return client.text !== "";
  });
});
