/** The admin API over a real socket. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { describe, it, type TestContext } from "node:test";
import { createAdmin } from "../../control/admin/app.ts";
import { listenAdmin } from "../../control/admin/server.ts";
import { SampleSource } from "./admin-source.ts";

async function open(t: TestContext, token: string | null = null) {
  const source = new SampleSource();
  const app = createAdmin(source, { host: "127.0.0.1", token, version: "1.2.3" });
  const server = await listenAdmin(app, { host: "127.0.0.1", port: 0 });
  t.after(() => server.close());
  return { source, app, server };
}

/** Sends bytes as they are and gives everything that comes back until the end. */
async function raw(port: number, text: string): Promise<string> {
  const socket = net.connect(port, "127.0.0.1");
  socket.setEncoding("latin1");
  let answer = "";
  socket.on("data", (chunk: string) => (answer += chunk));
  socket.write(text, "latin1");
  await once(socket, "close");
  return answer;
}

const close = "connection: close\r\n\r\n";

describe("the admin API on a socket", () => {
  it("answers on the port that it names", async (t) => {
    const { server } = await open(t);
    const response = await fetch(`http://${server.address}/livez`);
    assert.equal(response.status, 200);
    assert.deepEqual(await response.json(), { status: "live" });
  });

  it("reads PUT bodies", async (t) => {
    const { server, source } = await open(t);
    const response = await fetch(`http://${server.address}/config`, {
      method: "PUT",
      body: "routes: []",
    });
    assert.equal(response.status, 200);
    assert.deepEqual(source.sent, ["routes: []"]);
  });

  it("reads bodies with a length, chunked, and none at all", async (t) => {
    const { server, source } = await open(t);
    const ask = (head: string, body = "") =>
      raw(server.port, `${head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${body}`);
    assert.match(await ask("POST /reload", "\r\n"), /^HTTP\/1\.1 200 /);
    assert.match(await ask("POST /reload", "content-length: 0\r\n\r\n"), /^HTTP\/1\.1 200 /);
    assert.match(await ask("PUT /log-level", "content-length: 4\r\n\r\nwarn"), /^HTTP\/1\.1 200 /);
    const chunked = "transfer-encoding: chunked\r\n\r\n2\r\nde\r\n3\r\nbug\r\n0\r\n\r\n";
    assert.match(await ask("PUT /log-level", chunked), /^HTTP\/1\.1 200 /);
    assert.equal(source.logLevel, "debug");
    assert.match(await ask("PUT /log-level", "\r\n"), /^HTTP\/1\.1 400 /);
    assert.match(await ask("POST /drain", "\r\n"), /^HTTP\/1\.1 202 /);
  });

  it("refuses a body above its limit, whether the length is told or not", async (t) => {
    const { server } = await open(t);
    const url = `http://${server.address}/log-level`;
    const big = new Uint8Array(65 * 1024);
    assert.equal((await fetch(url, { method: "PUT", body: big })).status, 413);
    const stream = new Blob([big]).stream();
    const response = await fetch(url, { method: "PUT", body: stream, duplex: "half" });
    assert.equal(response.status, 413);
  });

  it("rejects with the system's error when the port is taken", async (t) => {
    const { server, app } = await open(t);
    await assert.rejects(listenAdmin(app, { host: "127.0.0.1", port: server.port }), {
      code: "EADDRINUSE",
    });
  });

  it("refuses a name that was made to point here", async (t) => {
    const { server } = await open(t);
    assert.match(
      await raw(server.port, `GET /config HTTP/1.1\r\nhost: evil.example\r\n${close}`),
      /^HTTP\/1\.1 403 /,
    );
    assert.match(
      await raw(
        server.port,
        `GET http://evil.example/config HTTP/1.1\r\nhost: 127.0.0.1\r\n${close}`,
      ),
      /^HTTP\/1\.1 (200|400|403) /,
    );
    assert.match(
      await raw(server.port, `GET /config HTTP/1.1\r\nhost: localhost\r\n${close}`),
      /^HTTP\/1\.1 200 /,
    );
  });

  it("survives what is not HTTP, and goes on", async (t) => {
    const { server } = await open(t);
    const hostile = [
      "\x16\x03\x01\x02\x00\x01\x00",
      "GET\r\n\r\n",
      `GET / HTTP/1.1\r\n${close}`,
      `GET //evil HTTP/1.1\r\nhost: 127.0.0.1\r\n${close}`,
      `GET /%zz HTTP/1.1\r\nhost: 127.0.0.1\r\n${close}`,
      `OPTIONS * HTTP/1.1\r\nhost: 127.0.0.1\r\n${close}`,
      `POST /explain HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\n${close}\xff\xfe{{{`,
      `PUT /log-level HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n${close}zz\r\n`,
      `GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ${"a".repeat(20_000)}\r\n${close}`,
    ];
    for (const text of hostile)
      assert.match(await raw(server.port, text), /^(HTTP\/1\.1 [24]\d\d |$)/, text.slice(0, 40));
    assert.equal((await fetch(`http://${server.address}/livez`)).status, 200);
  });

  it("closes while a connection is kept alive", async (t) => {
    const { server } = await open(t);
    await (await fetch(`http://${server.address}/livez`)).text();
    await server.close();
    await assert.rejects(fetch(`http://${server.address}/livez`));
  });
});
