/** What the configuration of listeners and services that carry no HTTP may say, and how it is told what is wrong. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkConfig } from "../../control/compile.ts";
import { loadConfig } from "../../control/load.ts";
import { configOf, folder, linesOf } from "./loading.ts";

const services = `services:
  db: { endpoints: ["127.0.0.1:1"], protocol: tcp }
  web: { endpoints: ["127.0.0.1:2"] }
`;
const listening = (rest: string): string =>
  `gateway: { listeners: [{ port: 1, ${rest} }] }\n${services}`;

describe("a listener that carries no HTTP", () => {
  it("may be auto with a service, with names, with both, or with neither", async () => {
    for (const rest of [
      "protocol: auto",
      "protocol: auto, to: db",
      "protocol: auto, sni: { a.example.com: db }",
      "protocol: auto, to: db, sni: { a.example.com: db }",
    ]) {
      const config = await configOf(listening(rest));
      assert.equal(config.gateway?.listeners[0]?.protocol, "auto");
    }
  });

  it("has its keys refused where they mean nothing", async () => {
    assert.deepEqual(await linesOf(listening("to: db")), [
      '1:39 "to" is for a tcp listener; here routes decide',
    ]);
    assert.deepEqual(await linesOf(listening("protocol: tls, sni: { a.b: db }, to: db")), [
      '1:72 "to" is for a tcp listener; here server names decide',
    ]);
    assert.deepEqual(await linesOf(listening("plugins: [ip-filter]")), [
      '1:44 "plugins" of an http listener stand on its routes',
    ]);
  });
});

describe("a tcp service", () => {
  it("may ask for a PROXY header; one of HTTP may not", async () => {
    const text = 'services: { a: { endpoints: ["a:1"], protocol: tcp, proxyProtocol: v2 } }\n';
    assert.equal((await configOf(text)).services["a"]?.proxyProtocol, "v2");
    assert.match(
      (await linesOf(text.replace("protocol: tcp, ", "")))[0]!,
      /"proxyProtocol" is for a tcp service: connections of HTTP are shared/,
    );
  });

  it("is checked by a connection: a path to ask makes no sense", async () => {
    const text =
      'services: { a: { endpoints: ["a:1"], protocol: tcp, health: { interval: 1s } } }\n';
    assert.equal((await configOf(text)).services["a"]?.health?.intervalMs, 1000);
    assert.match(
      (await linesOf(text.replace("interval: 1s", "path: /x")))[0]!,
      /a tcp service has no path to ask/,
    );
  });

  it("is reached by a route for CONNECT alone, and by no other", async () => {
    const route = (match: string): string =>
      `${services}routes: [{ name: r, match: ${match}, to: db }]\n`;
    assert.equal(
      (await configOf(route("{ methods: [CONNECT] }"))).routes[0]?.to?.[0]?.service,
      "db",
    );
    for (const match of ["{ methods: [CONNECT, GET] }", "{ path: / }", "[]"])
      assert.match((await linesOf(route(match)))[0]!, /"db" speaks tcp, and a route speaks HTTP/);
  });
});

describe("plugins on a listener", () => {
  const door = `import { defineTcpPlugin } from "weft/plugin";
const door = defineTcpPlugin({ name: "door", setup: () => ({ accept() {} }) });
export { door as default };
`;

  async function problems(t: Parameters<typeof folder>[0], yaml: string): Promise<string[]> {
    const path = await folder(t, { "weft.yaml": yaml, "door.ts": door });
    const loaded = await loadConfig(`${path}/weft.yaml`, { mode: "gateway", env: {} });
    assert.ok(loaded.ok, JSON.stringify(loaded));
    return (await checkConfig(loaded.config, "gateway")).map(
      ({ path: at, message }) => `${at.join(".")}: ${message}`,
    );
  }

  const tcp = (plugins: string): string =>
    listening(`protocol: tcp, to: db, plugins: [${plugins}]`);

  it("are those for connections", async (t) => {
    assert.deepEqual(
      await problems(
        t,
        tcp("./door.ts, ip-filter: { deny: [10.0.0.0/8] }, concurrency: { limit: 1 }"),
      ),
      [],
    );
    const [problem] = await problems(t, tcp("cors: { origins: [https://a.example] }"));
    assert.match(problem!, /plugins\.0\.cors: the plugin "cors" is for requests/);
  });

  it("have no request to ask about", async (t) => {
    const [problem] = await problems(t, tcp("{ ./door.ts: {}, when: 'method == \"GET\"' }"));
    assert.match(problem!, /plugins\.0\.when: there is no request to ask about/);
  });

  it("have their options checked", async (t) => {
    const [problem] = await problems(t, tcp("concurrency: { limit: 0 }"));
    assert.match(problem!, /listeners\.0\.plugins\.0\.concurrency\.limit/);
  });

  it("do not stand on routes, nor on the global list", async (t) => {
    const listeners = "gateway: { listeners: [{ port: 1 }] }\n";
    const route = `${listeners}${services}routes: [{ to: web, plugins: [./door.ts] }]\n`;
    assert.match(
      (await problems(t, route))[0]!,
      /^routes\.0\.plugins\.0: the plugin "door" is for connections, not for requests/,
    );
    assert.match(
      (await problems(t, `${listeners}${services}plugins: [./door.ts]\n`))[0]!,
      /^plugins\.0: the plugin "door" is for connections/,
    );
  });
});
