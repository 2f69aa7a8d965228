/** The admin API over a source without a process: what it shows, what it hides, whom it refuses. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createAdmin } from "../../control/admin/app.ts";
import { sampleSecrets, SampleSource } from "./admin-source.ts";

interface Asked {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

function open(options: { readonly token?: string; readonly host?: string } = {}) {
  const source = new SampleSource();
  const errors: unknown[] = [];
  const app = createAdmin(source, {
    host: options.host ?? "127.0.0.1",
    token: options.token ?? null,
    version: "1.2.3",
    onError: (error) => errors.push(error),
  });
  const ask = async (path: string, asked: Asked = {}) => {
    const headers = { host: "127.0.0.1:9901", ...asked.headers };
    const body = asked.body === undefined ? {} : { body: asked.body };
    const response = await app.request(`http://127.0.0.1:9901${path}`, {
      method: asked.method ?? "GET",
      headers,
      ...body,
    });
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json") === true;
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson && text !== "" ? JSON.parse(text) : null,
    };
  };
  return { source, ask, errors };
}

describe("probes", () => {
  it("says live as long as the process can go on", async () => {
    const { source, ask } = open();
    assert.equal((await ask("/livez")).status, 200);
    source.isLive = false;
    assert.equal((await ask("/livez")).status, 503);
  });

  it("is ready with listeners, snapshot and the last refused configuration in the details", async () => {
    const { source, ask } = open();
    const problems = [{ path: ["routes"], at: "key", message: "unknown key" } as const];
    source.ready = { ...source.ready, lastRejected: { atMs: 0, problems } };
    const { status, json } = await ask("/readyz");
    assert.equal(status, 200);
    assert.equal(json.ready, true);
    assert.equal(json.snapshot, 1);
    assert.equal(json.listeners[0].name, "web");
    assert.deepEqual(json.lastRejected, { at: "1970-01-01T00:00:00.000Z", problems });
  });

  it("is not ready before the first snapshot, nor once draining has begun", async () => {
    const { source, ask } = open();
    source.ready = { ...source.ready, ready: false, snapshot: null };
    assert.equal((await ask("/readyz")).json.status, "not ready");
    assert.equal((await ask("/drain", { method: "POST" })).status, 202);
    const { status, json } = await ask("/readyz");
    assert.equal(status, 503);
    assert.equal(json.status, "draining");
  });
});

describe("views", () => {
  it("shows services with the state of each endpoint", async () => {
    const { json } = await open().ask("/services");
    assert.deepEqual(json[0], {
      name: "orders",
      security: "mtls",
      endpoints: [
        { address: "127.0.0.1:3001", healthy: true, state: "healthy", ejectedUntil: null },
        {
          address: "127.0.0.1:3002",
          healthy: false,
          state: "ejected",
          ejectedUntil: "2026-01-01T00:01:00.000Z",
        },
      ],
    });
    assert.equal(json[1].endpoints[0].state, "unhealthy");
  });

  it("shows routes in the words of the configuration file", async () => {
    const { json } = await open().ask("/routes");
    assert.deepEqual(
      json.map((route: { name: string }) => route.name),
      ["orders", "payments", "old", "ping", "bff"],
    );
    assert.deepEqual(json[0].match, [
      { path: "/orders", methods: ["GET", "POST"], headers: { "x-canary": "1" } },
    ]);
    assert.deepEqual(json[0].plugins, ["request-id", "jwt", "rate-limit"]);
    assert.deepEqual(json[3].match, [{ path: { exact: "/ping" } }]);
  });

  it("shows a sidecar's implied routes", async () => {
    const { source, ask } = open();
    const mesh = {
      service: "web",
      app: { host: "127.0.0.1", port: 3000 },
      outbound: null,
      inbound: null,
      advertise: null,
      trustDomain: "weft.local",
      mtls: "strict",
      identity: null,
    } as const;
    source.mode = "mesh";
    source.applied = {
      ...source.applied!,
      config: { ...source.applied!.config, mesh, routes: [] },
    };
    const { json } = await ask("/routes");
    assert.deepEqual(
      json.map((route: { plane: string; hosts: string[] }) => [route.plane, route.hosts]),
      [
        ["outbound", ["orders"]],
        ["outbound", ["payments"]],
        ["inbound", []],
      ],
    );
  });

  it("shows plugins with their options and limits with what they refused", async () => {
    const { source, ask } = open();
    source.text = 'weft_rate_limited_total{route="orders",policy="default"} 7\n';
    const plugins = (await ask("/plugins")).json;
    assert.deepEqual(
      plugins.map((use: { id: string; route: string }) => [use.id, use.route]),
      [
        ["request-id", null],
        ["jwt", "orders"],
        ["rate-limit", "orders"],
        ["headers", "payments"],
      ],
    );
    assert.deepEqual((await ask("/limits")).json, [
      {
        plugin: "rate-limit",
        name: "default",
        route: "orders",
        limit: "100/min",
        by: "consumer",
        store: "local",
        shadow: false,
        limited: 7,
        callers: [],
      },
    ]);
  });

  it("names a certificate file that cannot be read, and goes on", async () => {
    const { source, ask } = open();
    const config = source.applied!.config;
    const tls = {
      certificates: [{ cert: "/nowhere/api.crt", key: "/nowhere/api.key" }],
      clientAuth: null,
    };
    const listeners = config.gateway!.listeners.map((listener) => ({ ...listener, tls }));
    source.applied = {
      ...source.applied!,
      config: { ...config, gateway: { ...config.gateway!, listeners } },
    };
    const [certificate] = (await ask("/certs")).json;
    assert.equal(certificate.use, "listener web");
    assert.match(certificate.error, /ENOENT/);
  });

  it("gives the metrics as Prometheus text", async () => {
    const { source, ask } = open();
    source.text = "weft_config_age_seconds 3\n";
    const { text, headers } = await ask("/metrics");
    assert.equal(text, "weft_config_age_seconds 3\n");
    assert.match(headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  });

  it("tells its version", async () => {
    assert.equal((await open().ask("/version")).json.version, "1.2.3");
  });

  it("answers 503 to a view before the first configuration", async () => {
    const { source, ask } = open();
    source.applied = null;
    assert.equal((await ask("/routes")).json.code, "unavailable");
    assert.equal((await ask("/dashboard.json")).status, 200);
  });
});

describe("secrets", () => {
  it("never stand in any answer", async () => {
    const { ask } = open();
    for (const path of [
      "/config",
      "/plugins",
      "/routes",
      "/services",
      "/limits",
      "/dashboard.json",
      "/readyz",
    ]) {
      const { text, status } = await ask(path);
      assert.equal(status, 200, path);
      for (const secret of sampleSecrets)
        assert.ok(!text.includes(secret), `${path} shows ${secret}`);
    }
  });

  it("leave everything around them readable", async () => {
    const { text, json } = await open().ask("/config");
    assert.ok(text.includes("127.0.0.1:6379"), "the store's address");
    assert.ok(text.includes("public-x"), "the public part of a key");
    assert.ok(text.includes("partners"), "a consumer's groups");
    assert.equal(json.version, 1);
  });
});

describe("PUT /config", () => {
  const put = (headers: Record<string, string> = {}) => ({
    method: "PUT",
    headers,
    body: "routes: []\n",
  });

  it("takes the configuration with the etag of the one in effect", async () => {
    const { source, ask } = open();
    const before = (await ask("/config")).json;
    const { status, json, headers } = await ask("/config", put({ "if-match": before.etag }));
    assert.equal(status, 200);
    assert.equal(json.version, 2);
    assert.equal(headers.get("etag"), json.etag);
    assert.equal((await ask("/config")).json.etag, json.etag);
    assert.deepEqual(source.sent, ["routes: []\n"]);
  });

  it("refuses a stale etag with 412 and changes nothing", async () => {
    const { source, ask } = open();
    const { etag } = (await ask("/config")).json;
    await ask("/config", put({ "if-match": etag }));
    const { status, json } = await ask("/config", put({ "if-match": etag }));
    assert.equal(status, 412);
    assert.equal(json.code, "stale-config");
    assert.equal(source.sent.length, 1);
  });

  it("lets one of two writers with the same etag through", async () => {
    const { ask } = open();
    const { etag } = (await ask("/config")).json;
    const answers = await Promise.all([
      ask("/config", put({ "if-match": etag })),
      ask("/config", put({ "if-match": etag })),
    ]);
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 412]);
  });

  it("takes the etag without quotes, in a list, as *, or not at all", async () => {
    const { ask } = open();
    for (const write of [
      (etag: string) => etag.replaceAll('"', ""),
      (etag: string) => `"x", ${etag}`,
      () => "*",
    ]) {
      const { etag } = (await ask("/config")).json;
      assert.equal((await ask("/config", put({ "if-match": write(etag) }))).status, 200);
    }
    assert.equal((await ask("/config", put())).status, 200);
  });

  it("answers an invalid configuration with 422 and the problems that check prints", async () => {
    const { source, ask } = open();
    source.nextProblems = [
      {
        path: ["rotues"],
        at: "key",
        message: 'unknown key "rotues"',
        suggestion: 'did you mean "routes"?',
        file: "config",
        line: 1,
        column: 1,
      },
    ];
    const { status, json, headers } = await ask("/config", put());
    assert.equal(status, 422);
    assert.match(headers.get("content-type")!, /^application\/problem\+json/);
    assert.deepEqual(json.problems, source.nextProblems);
    assert.match(json.detail, /config:1:1: unknown key "rotues" \(did you mean "routes"\?\)/);
  });

  it("answers a rejected reload the same way", async () => {
    const { source, ask } = open();
    assert.deepEqual((await ask("/reload", { method: "POST" })).json, {
      result: "applied",
      version: 2,
    });
    source.nextProblems = [{ path: ["routes", "0"], at: "value", message: "is not a list" }];
    assert.equal((await ask("/reload", { method: "POST" })).status, 422);
  });

  it("refuses a body above its limit", async () => {
    const { source, ask } = open();
    const body = "#".repeat(17 * 1024 * 1024);
    assert.equal((await ask("/config", { method: "PUT", body })).status, 413);
    assert.deepEqual(source.sent, []);
  });
});

describe("questions and switches", () => {
  it("explains a request from the configuration in effect and the live endpoints", async () => {
    const { ask } = open();
    const url = "http://api.example.com/orders";
    const body = JSON.stringify({ method: "GET", url, headers: { "x-canary": "1" } });
    const { status, json } = await ask("/explain", { method: "POST", body });
    assert.equal(status, 200);
    assert.equal(json.route, "orders");
    assert.deepEqual(json.plugins, ["request-id", "jwt", "rate-limit"]);
    assert.equal(json.service, "orders");
    assert.equal(json.endpoints[1].state, "ejected");
    const other = await ask("/explain", { method: "POST", body: JSON.stringify({ url }) });
    assert.equal(other.json.route, null);
    assert.match(JSON.stringify(other.json.lost), /"route":"orders","why":"[^"]*x-canary/);
  });

  it("answers a question that is none with 400 and what was expected", async () => {
    const { ask } = open();
    for (const body of [
      "",
      "{",
      "[]",
      "{}",
      '{"url":7}',
      '{"url":"/","method":"GET /x"}',
      '{"url":"orders"}',
    ]) {
      const { status, json } = await ask("/explain", { method: "POST", body });
      assert.equal(status, 400, body);
      assert.equal(json.code, "bad-request", body);
    }
  });

  it("sets the log level, written as JSON or as a word", async () => {
    const { source, ask } = open();
    assert.deepEqual((await ask("/log-level", { method: "PUT", body: '{"level":"debug"}' })).json, {
      level: "debug",
    });
    await ask("/log-level", { method: "PUT", body: "warn\n" });
    assert.equal(source.logLevel, "warn");
    const { status, json } = await ask("/log-level", { method: "PUT", body: '{"level":"loud"}' });
    assert.equal(status, 400);
    assert.match(json.detail, /trace, debug, info/);
  });
});

describe("who may ask", () => {
  it("refuses a Host that is not this machine when bound to loopback", async () => {
    const { ask } = open();
    for (const host of [
      "evil.example",
      "127.0.0.1.evil.example",
      "localhost.evil.example:9901",
      "10.0.0.1",
      "[::2]",
      "a b",
    ]) {
      assert.equal((await ask("/config", { headers: { host } })).status, 403, host);
    }
    for (const host of ["localhost:9901", "LOCALHOST", "127.0.0.1", "127.9.9.9:1", "[::1]:9901"]) {
      assert.equal((await ask("/config", { headers: { host } })).status, 200, host);
    }
  });

  it("takes any Host off loopback, where the token stands guard", async () => {
    const { ask } = open({ host: "0.0.0.0", token: "t0ken" });
    const headers = { host: "weft.example:9901", authorization: "Bearer t0ken" };
    assert.equal((await ask("/config", { headers })).status, 200);
    assert.equal((await ask("/config", { headers: { host: "weft.example:9901" } })).status, 401);
  });

  it("wants the token for everything but the bare probes and the empty page", async () => {
    const { ask } = open({ token: "t0ken" });
    for (const path of [
      "/config",
      "/metrics",
      "/routes",
      "/services",
      "/dashboard.json",
      "/nothing",
    ]) {
      const { status, headers, json } = await ask(path);
      assert.equal(status, 401, path);
      assert.match(headers.get("www-authenticate")!, /^Bearer/);
      assert.equal(json.code, "unauthenticated");
    }
    for (const authorization of [
      "Bearer wrong",
      "Bearer t0ken2",
      "Basic t0ken",
      "t0ken",
      "Bearer ",
    ]) {
      assert.equal(
        (await ask("/config", { headers: { authorization } })).status,
        401,
        authorization,
      );
    }
    assert.equal(
      (await ask("/config", { headers: { authorization: "bearer t0ken" } })).status,
      200,
    );
    assert.deepEqual((await ask("/readyz")).json, { status: "ready" });
    assert.equal((await ask("/")).status, 200);
  });

  it("refuses pages of other sites, and gives no permission to any", async () => {
    const { source, ask } = open();
    const origin = "https://evil.example";
    assert.equal((await ask("/drain", { method: "POST", headers: { origin } })).status, 403);
    assert.equal(
      (await ask("/drain", { method: "POST", headers: { origin: "null" } })).status,
      403,
    );
    assert.equal(
      (await ask("/drain", { method: "POST", headers: { "sec-fetch-site": "cross-site" } })).status,
      403,
    );
    assert.equal(source.ready.draining, false);
    const own = await ask("/routes", { headers: { origin: "http://127.0.0.1:9901" } });
    assert.equal(own.status, 200);
    assert.equal(own.headers.get("access-control-allow-origin"), null);
  });

  it("sends headers that keep pages honest with every answer", async () => {
    const { ask } = open();
    for (const path of ["/", "/config", "/nothing"]) {
      const { headers } = await ask(path);
      assert.match(
        headers.get("content-security-policy")!,
        /default-src 'none'; script-src 'self'/,
      );
      assert.equal(headers.get("x-content-type-options"), "nosniff");
    }
  });
});

describe("the rest", () => {
  it("answers unknown paths with a problem document, /tap among them", async () => {
    const { ask } = open();
    for (const path of ["/tap", "/nothing", "/config/"]) {
      const { status, json } = await ask(path);
      assert.equal(status, 404, path);
      assert.equal(json.code, "not-found");
    }
  });

  it("answers another method with 405 and Allow", async () => {
    const { ask } = open();
    const { status, headers } = await ask("/config", { method: "DELETE" });
    assert.equal(status, 405);
    assert.equal(headers.get("allow"), "GET, HEAD, PUT");
    assert.equal((await ask("/reload")).status, 405);
    assert.equal((await ask("/routes", { method: "OPTIONS" })).status, 405);
    assert.equal((await ask("/routes", { method: "HEAD" })).status, 200);
  });

  it("answers 500 without the cause when the process fails it, and reports the cause", async () => {
    const { source, ask, errors } = open();
    source.metrics = () => {
      throw new Error("page is gone");
    };
    const { status, text } = await ask("/metrics");
    assert.equal(status, 500);
    assert.ok(!text.includes("page is gone"));
    assert.match(String(errors[0]), /page is gone/);
  });
});
