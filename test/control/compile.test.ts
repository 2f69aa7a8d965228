import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { buildSnapshot, checkConfig, ConfigProblems } from "../../control/compile.ts";
import type { Config } from "../../control/config.ts";
import { loadConfig } from "../../control/load.ts";
import { Reply } from "../../proxy/pipeline/plugin.ts";
import type { Target } from "../../proxy/snapshot.ts";
import { pluginsOf, routeOf, Worker } from "./compile-env.ts";
import { testAuthority } from "../support/certificates.ts";
import { configOf, folder, linesOf, problemsOf as problemsAt } from "./loading.ts";

const listener = "gateway: { listeners: [{ port: 8080 }] }\n";

/** Loads a folder's weft.yaml. */
async function load(t: TestContext, files: Readonly<Record<string, string>>): Promise<Config> {
  const path = await folder(t, files);
  const loaded = await loadConfig(`${path}/weft.yaml`, { mode: "gateway", env: {} });
  assert.ok(loaded.ok, loaded.ok ? "" : JSON.stringify(loaded.problems));
  return loaded.config;
}

async function problemsOf(build: Promise<unknown>): Promise<string[]> {
  try {
    await build;
  } catch (error) {
    assert.ok(error instanceof ConfigProblems, String(error));
    return error.problems.map(({ path, message }) => `${path.join(".")}: ${message}`);
  }
  assert.fail("it was built");
}

function targetOf<Kind extends Target["kind"]>(
  target: Target | undefined,
  kind: Kind,
): Extract<Target, { kind: Kind }> {
  assert.equal(target?.kind, kind);
  return target as Extract<Target, { kind: Kind }>;
}

describe("a snapshot", () => {
  it("has every kind of route", async (t) => {
    const config = await load(t, {
      "weft.yaml": `${listener}
services: { a: { endpoints: ["127.0.0.1:1"], policy: { timeout: 3s } }, b: { endpoints: [] } }
routes:
  - { name: split, match: { path: /split }, to: [{ service: a, weight: 2 }, b], policy: { retry: { attempts: 4 } } }
  - { name: old, match: { path: /v1 }, redirect: { path: /x, status: 308 } }
  - { name: ping, match: { path: { exact: /ping } }, respond: { status: 201, body: pong, headers: { x-a: "1" } } }
  - { name: page, match: { path: /page }, respond: { body: "<p>", headers: { Content-Type: text/html } } }
  - { name: home, match: { path: /home }, app: ./home.ts }
`,
      "home.ts": `import { Hono } from 'hono'
const app = new Hono()
app.get('/home', (c) => c.text('hello'))
export default app`,
    });
    const { planes } = await new Worker(t).apply(config);
    const { edge } = planes;
    assert.equal(planes.outbound, null);
    assert.equal(edge?.access, null);

    const split = routeOf(edge, { path: "/split" });
    const { choices } = targetOf(split?.target, "service");
    const taken = Array.from({ length: 3 }, () => choices.next().service.name);
    assert.deepEqual(taken, ["a", "b", "a"]);
    assert.deepEqual(
      choices.all.map(({ policy }) => [policy.timeoutMs, policy.retry.attempts]),
      [
        [3_000, 4],
        [15_000, 4],
      ],
    );

    const { redirect } = targetOf(routeOf(edge, { path: "/v1/a" })?.target, "redirect");
    assert.deepEqual([redirect.path, redirect.status], ["/x", 308]);

    const ping = targetOf(routeOf(edge, { path: "/ping" })?.target, "respond");
    assert.deepEqual([ping.status, ping.body], [201, "pong"]);
    assert.equal(ping.headers.get("x-a"), "1");
    assert.equal(ping.headers.get("content-type"), "text/plain; charset=utf-8");
    const page = targetOf(routeOf(edge, { path: "/page" })?.target, "respond");
    assert.equal(page.headers.get("content-type"), "text/html");

    const { app } = targetOf(routeOf(edge, { path: "/home" })?.target, "app");
    const answer = await app.fetch(new Request("http://h/home"));
    assert.equal(await answer.text(), "hello");
  });

  it("keeps its services over a reload, and changes them when it is activated", async (t) => {
    const worker = new Worker(t);
    const text = (port: number): string =>
      `${listener}services: { a: { endpoints: ["127.0.0.1:1", "127.0.0.1:${port}"] } }`;
    const first = await worker.apply(await configOf(text(2)));
    const second = await worker.build(await configOf(text(3)));
    const service = first.services.get("a")!;
    assert.equal(second.services.get("a"), service);
    const addresses = (): string[] => service.endpoints.map(({ address }) => address);
    assert.deepEqual(addresses(), ["127.0.0.1:1", "127.0.0.1:2"]);
    const [kept] = service.endpoints;
    second.activate();
    assert.deepEqual(addresses(), ["127.0.0.1:1", "127.0.0.1:3"]);
    assert.equal(service.endpoints[0], kept);
  });

  it("is built for any service name, those of Object's own members included", async (t) => {
    const config = await configOf(`${listener}
services: { constructor: { endpoints: [] }, toString: { endpoints: [] } }
routes: [{ name: a, to: constructor }]`);
    const snapshot = await new Worker(t).apply(config);
    assert.deepEqual([...snapshot.services.keys()], ["constructor", "toString"]);
  });

  it("gives every problem at once, and leaves what is live alone", async (t) => {
    const worker = new Worker(t);
    const config = await configOf(`${listener}
services: { a: { endpoints: [] } }
routes: [{ name: a, to: a, plugins: [cors] }]`);
    await worker.apply(config);
    const [route] = config.routes;
    const broken: Config = {
      ...config,
      services: { b: config.services["a"]! },
      routes: [
        { ...route!, policy: "slow" },
        { ...route!, name: "b", to: null, app: "/nowhere/app.ts" },
        { ...route!, name: "c", plugins: [{ ...route!.plugins[0]!, use: "/nowhere/plugin.ts" }] },
      ],
    };
    const problems = await problemsOf(worker.build(broken));
    assert.deepEqual(
      problems.map((problem) => problem.split(":", 1)[0]),
      ["routes.0.to.0.service", "routes.0.policy", "routes.2.to.0.service", "routes.0.plugins.0"],
    );
    assert.deepEqual([...worker.services.services.keys()], ["a"]);
  });

  it("takes an authority that cannot be read as a problem of that service", async (t) => {
    const config = await configOf(`${listener}services: { a: { endpoints: ["127.0.0.1:1"] } }`);
    const tls = { ca: "/nowhere/ca.crt", serverName: null };
    const broken = { ...config, services: { a: { ...config.services["a"]!, tls } } };
    const problems = await problemsOf(new Worker(t).build(broken));
    assert.match(problems[0]!, /^services\.a\.tls\.ca: the authority \/nowhere\/ca\.crt/);
  });

  it("dials TLS as its service says, over connections of their own when the authority changes", async (t) => {
    const authorities = [await testAuthority(), await testAuthority()];
    const path = await folder(t, { "0.crt": authorities[0]!.cert, "1.crt": authorities[1]!.cert });
    const keyOf = async (ca: string): Promise<string> => {
      const { services } = await new Worker(t).apply(
        await configOf(`${listener}
services: { a: { endpoints: ["10.0.0.1:1"], tls: { ca: ${path}/${ca}, serverName: a.internal } } }`),
      );
      const { target } = services.get("a")!.endpoints[0]!;
      assert.equal(target.tls?.kind, "tls");
      return target.key;
    };
    const first = await keyOf("0.crt");
    assert.equal(await keyOf("0.crt"), first);
    assert.notEqual(await keyOf("1.crt"), first);
  });
});

describe("plugins", () => {
  it("run globally first, then the route's, a route's own replacing the global one of its id", async (t) => {
    const config = await configOf(`${listener}
plugins:
  - request-id
  - headers: { request: { set: { x-a: "1" } } }
  - headers: { request: { set: { x-b: "1" } } }
    id: second
routes:
  - { name: plain, match: { path: /plain }, respond: {} }
  - name: own
    match: { path: /own }
    respond: {}
    plugins:
      - headers: { request: { set: { x-a: "2" } } }
      - body-limit: { bytes: 1KiB }
      - request-id: {}
        enabled: false
`);
    const { planes } = await new Worker(t).apply(config);
    const plain = routeOf(planes.edge, { path: "/plain" });
    const own = routeOf(planes.edge, { path: "/own" });
    assert.deepEqual(pluginsOf(plain), ["request-id", "headers", "second"]);
    assert.deepEqual(pluginsOf(own), ["body-limit", "headers", "second"]);
    assert.deepEqual(
      planes.edge?.unrouted?.plugins.map(({ id }) => id),
      ["request-id", "headers", "second"],
    );
    const instance = (route: typeof own, id: string) =>
      route?.chain?.plugins.find((plugin) => plugin.id === id);
    assert.equal(instance(plain, "second"), instance(own, "second"));
    assert.notEqual(instance(plain, "headers"), instance(own, "headers"));
  });

  it("that are enforced stay whatever a route says", async () => {
    const lines = await linesOf(`${listener}
plugins: [{ request-id: {}, enforced: true }]
routes: [{ name: a, respond: {}, plugins: [{ request-id: {}, enabled: false }] }]
`);
    assert.match(lines[0]!, /^4:44 "request-id" is enforced for every route/);
  });

  it("come from a file anywhere, with weft's own classes and packages", async (t) => {
    const config = await load(t, {
      "weft.yaml": `${listener}
routes:
  - name: a
    respond: {}
    plugins:
      - ./plugins/tenant.ts: { header: x-tenant }
        when: method != "OPTIONS"
`,
      "plugins/tenant.ts": `
import { definePlugin, reply } from 'weft/plugin'
import { z } from 'zod'
export default definePlugin({
  name: 'tenant', stage: 'authn',
  config: z.object({ header: z.string() }),
  setup({ header }, host) {
    return { request: (req) => req.headers.has(header) ? undefined : reply(401, 'missing tenant') }
  },
})`,
    });
    const { planes } = await new Worker(t).apply(config);
    const plugin = routeOf(planes.edge, {})?.chain?.plugins[0];
    assert.equal(plugin?.name, "tenant");
    const answer = plugin?.hooks.request?.({ headers: new Map() } as never, {} as never);
    assert.ok(answer instanceof Reply);
    assert.equal(answer.status, 401);
    assert.equal(plugin?.when?.({ method: "OPTIONS" } as never, {} as never), false);
    assert.equal(plugin?.when?.({ method: "GET" } as never, {} as never), true);
  });

  it("come from a package that the configuration's folder has", async (t) => {
    const config = await load(t, {
      "weft.yaml": `${listener}routes: [{ name: a, respond: {}, plugins: [weft-plugin-greet] }]`,
      "node_modules/weft-plugin-greet/package.json": `{ "name": "weft-plugin-greet", "type": "module", "exports": { "import": "./index.js" } }`,
      "node_modules/weft-plugin-greet/index.js": `import { definePlugin } from 'weft/plugin'
export default definePlugin({ name: 'greet', stage: 'transform', setup: () => ({}) })`,
    });
    const { planes } = await new Worker(t).apply(config);
    assert.deepEqual(pluginsOf(routeOf(planes.edge, {})), ["greet"]);
  });

  it("are refused with the reason when their file is none", async (t) => {
    const config = await load(t, {
      "weft.yaml": `${listener}
routes:
  - { name: a, match: { path: /a }, respond: {}, plugins: [./throws.ts] }
  - { name: b, match: { path: /b }, respond: {}, plugins: [./empty.ts] }
  - { name: c, match: { path: /c }, respond: {}, plugins: [./stage.ts] }
  - { name: d, match: { path: /d }, respond: {}, plugins: [./syntax.ts] }
`,
      "throws.ts": `throw new Error('not today')`,
      "empty.ts": `export const x = 1`,
      "stage.ts": `export default { name: 'x', stage: 'nowhere', setup() {} }`,
      "syntax.ts": `export default 1;\nlet x: number = ;`,
    });
    const problems = await problemsOf(new Worker(t).build(config));
    assert.match(
      problems[0]!,
      /routes\.0\.plugins\.0.*throws\.ts cannot be loaded: throws\.ts:1: not today/,
    );
    assert.match(problems[1]!, /empty\.ts is no plugin: it has no default export/);
    assert.match(problems[2]!, /stage\.ts is no plugin: its stage "nowhere" is none of/);
    assert.match(problems[3]!, /cannot be loaded: syntax\.ts:2: /);
  });

  it("are closed when the last snapshot that has them is retired, and shared until then", async (t) => {
    const files = (extra: string) => ({
      "weft.yaml": `${listener}
routes: [{ name: a, respond: {}, plugins: [./count.ts] }${extra}]`,
      "count.ts": `globalThis.weftCompileTest ??= { made: 0, closed: 0 }
export default { name: 'count', stage: 'observe', setup() {
  globalThis.weftCompileTest.made++
  return { close() { globalThis.weftCompileTest.closed++ } }
} }`,
    });
    const config = await load(t, files(""));
    const more: Config = {
      ...config,
      routes: [...config.routes, { ...config.routes[0]!, name: "b", hosts: ["b"] }],
    };
    const counts = (): unknown =>
      (globalThis as unknown as { weftCompileTest: unknown }).weftCompileTest;
    const worker = new Worker(t);
    const first = await worker.apply(config);
    const second = await worker.apply(more);
    first.use.retire();
    assert.deepEqual(counts(), { made: 1, closed: 0 });
    second.use.enter();
    second.use.retire();
    assert.deepEqual(counts(), { made: 1, closed: 0 });
    second.use.leave();
    assert.deepEqual(counts(), { made: 1, closed: 1 });
  });

  it("that were set up for a configuration with a problem elsewhere are given back", async (t) => {
    const config = await load(t, {
      "weft.yaml": `${listener}
routes:
  - { name: a, match: { path: /a }, respond: {}, plugins: [./held.ts] }
  - { name: b, match: { path: /b }, app: ./broken.ts }`,
      "held.ts": `export default { name: 'held', stage: 'observe', setup: () => ({}) }`,
      "broken.ts": `export default {}`,
    });
    const worker = new Worker(t);
    const problems = await problemsOf(worker.build(config));
    assert.match(problems[0]!, /^routes\.1\.app: .*no default export with fetch\(\)/);
    assert.deepEqual(worker.instances.list(), []);
  });

  it("let a preflight through to a route limited to methods when cors is on it", async (t) => {
    const config = await configOf(`${listener}
routes:
  - name: a
    match: { path: /a, methods: [GET, PUT] }
    respond: {}
    plugins: [{ cors: { origins: ["https://a.com"] } }]
  - { name: b, match: { path: /b, methods: [GET] }, respond: {} }
`);
    const { planes } = await new Worker(t).apply(config);
    const preflight = (path: string, method: string) =>
      routeOf(planes.edge, {
        method: "OPTIONS",
        path,
        headers: { origin: "https://a.com", "access-control-request-method": method },
      })?.name ?? null;
    assert.equal(preflight("/a", "PUT"), "a");
    assert.equal(preflight("/a", "DELETE"), null);
    assert.equal(preflight("/b", "GET"), null);
    assert.equal(routeOf(planes.edge, { method: "OPTIONS", path: "/a" }), null);
  });
});

describe("a check", () => {
  it("finds options and conditions that are wrong, at their place", async () => {
    const lines = await linesOf(`${listener}
routes:
  - name: a
    respond: {}
    plugins:
      - cors: { origns: ["https://a.com"] }
      - body-limit: { bytes: 1KiB }
        when: methd != "OPTIONS"
      - headers: {}
        when: '"not a condition"'
`);
    assert.match(lines[0]!, /^7:17 unknown \w+ "origns"/);
    assert.match(lines[1]!, /^9:15 in the expression .*Unknown variable: methd/);
    assert.match(lines[2]!, /^11:15 the condition .* is string, not true or false/);
  });

  it("suggests the name that was meant", async () => {
    const problems = await problemsAt(`${listener}
services: { orders: { endpoints: [] } }
policies: { patient: {} }
consumers: [{ name: acme, plan: golld }]
plans: { gold: { limit: 1/s } }
routes: [{ name: a, to: [{ service: ordrs }], policy: patiemt, plugins: [coors] }]
`);
    assert.deepEqual(
      problems.map(({ suggestion }) => suggestion),
      ["gold", "orders", "patient", "cors"].map((name) => `did you mean "${name}"?`),
    );
  });

  it("refuses a plugin on a side where it cannot run", async () => {
    const config = await configOf(`services: { orders: { endpoints: [] } }
plugins: [cors, request-id]
routes: [{ name: a, to: orders, plugins: [compress] }]`);
    const messages = (await checkConfig(config, "mesh")).map(({ message }) => message);
    assert.deepEqual(messages, [
      'the plugin "compress" runs in gateway, mesh-inbound only, not in mesh-outbound',
    ]);
  });

  it("refuses two uses of one id in a list", async () => {
    const [line] = await linesOf(`${listener}
plugins: [request-id, { request-id: {} }]`);
    assert.match(line!, /"request-id" is twice in this list/);
  });

  it("takes several limits with names of their own, and refuses two with the same", async () => {
    const list = (...names: string[]) =>
      `plugins: [${names
        .map((name) => `rate-limit: { limit: 1/s, name: ${name} }`)
        .map((use) => `{ ${use} }`)
        .join(", ")}]`;
    await configOf(`${listener}${list("burst", "daily")}`);
    const [line] = await linesOf(`${listener}${list("daily", "daily")}`);
    assert.match(line!, /"rate-limit\/daily" is twice in this list/);
  });
});

describe("ten thousand routes", () => {
  it("compile, and each is found", async (t) => {
    const config = await configOf(`${listener}services: { a: { endpoints: [] } }`);
    const [blank] = (
      await configOf(`${listener}
services: { a: { endpoints: [] } }
routes: [{ name: x, match: { path: /x }, to: a }]`)
    ).routes;
    const routes = Array.from({ length: 10_000 }, (_, i) => ({
      ...blank!,
      name: `r${i}`,
      match: [{ ...blank!.match[0]!, path: { kind: "prefix" as const, value: `/r${i}` } }],
    }));
    const worker = new Worker(t);
    const { services, instances } = worker;
    const env = { mode: "gateway" as const, version: 1, identity: null, services, instances };
    const { planes } = await buildSnapshot({ ...config, routes }, env);
    for (const i of [0, 77, 9_999]) {
      assert.equal(routeOf(planes.edge, { path: `/r${i}/x` })?.name, `r${i}`);
    }
  });
});
