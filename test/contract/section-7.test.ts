/** CONTRACT section 7, on a real process: what a scrape says after known traffic. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { freePort } from "../support/ports.ts";
import { answering, ok, Origin } from "../support/origin.ts";

let gateway: Gateway;
let origin: Origin;
let dead: number;

/** The answers of `count` requests for `path`, one after the other. */
async function ask(path: string, count = 1): Promise<number[]> {
  const statuses: number[] = [];
  for (let i = 0; i < count; i++) {
    const answer = await fetch(`http://127.0.0.1:${gateway.port}${path}`);
    await answer.arrayBuffer();
    statuses.push(answer.status);
  }
  return statuses;
}

before(async () => {
  origin = await Origin.start(answering(() => ok("hello")));
  dead = await freePort();
  gateway = await Gateway.start({
    ports: 2,
    files: {
      "late.ts": `import { definePlugin } from "weft/plugin";
        import { setTimeout } from "node:timers/promises";
        export default definePlugin({ name: "late", stage: "authz",
          setup: () => ({ async request() { await setTimeout(20); } }) });`,
      "broken.ts": `import { definePlugin } from "weft/plugin";
        export default definePlugin({ name: "broken", stage: "authz",
          setup: () => ({ request() { throw new Error("no"); } }) });`,
    },
    config: ({ port, admin }) =>
      `
gateway: { listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }] }
services:
  up: { endpoints: ["${origin.address}"] }
  half: { endpoints: ["${origin.address}", "127.0.0.1:${dead}"], policy: { balance: round-robin } }
routes:
  - { name: up, match: { path: /up }, to: up, plugins: [security-headers, ./late.ts] }
  - { name: half, match: { path: /half }, to: half }
  - { name: limited, match: { path: /limited }, to: up, plugins: [{ rate-limit: { limit: 1/min, name: tight } }] }
  - { name: broken, match: { path: /broken }, to: up, plugins: [./broken.ts] }
  - { name: stored, match: { path: /stored }, to: up, plugins: [{ rate-limit: { limit: 9/min, store: redis } }] }
stores: { redis: "redis://127.0.0.1:${dead}" }
plugins: [request-id]
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
  });
});
after(async () => {
  await gateway?.stop();
  await origin.close();
});

describe("a scrape", () => {
  test("is Prometheus text and names every metric of the contract with its kind", async () => {
    const answer = await fetch(`http://127.0.0.1:${gateway.admin}/metrics`);
    assert.match(answer.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
    const text = await answer.text();
    for (const [name, kind] of Object.entries({
      weft_requests_total: "counter",
      weft_request_duration_seconds: "histogram",
      weft_request_bytes_total: "counter",
      weft_response_bytes_total: "counter",
      weft_active_requests: "gauge",
      weft_connections: "gauge",
      weft_attempts_total: "counter",
      weft_retries_total: "counter",
      weft_retries_denied_total: "counter",
      weft_endpoint_healthy: "gauge",
      weft_endpoint_latency_seconds: "gauge",
      weft_ejections_total: "counter",
      weft_breaker_open: "gauge",
      weft_rate_limited_total: "counter",
      weft_plugin_duration_seconds: "histogram",
      weft_plugin_errors_total: "counter",
      weft_config_reload_total: "counter",
      weft_config_age_seconds: "gauge",
      weft_certificate_expiry_seconds: "gauge",
      weft_access_total: "counter",
      weft_event_loop_delay_seconds: "gauge",
      weft_worker_restarts_total: "counter",
      weft_store_up: "gauge",
      weft_store_errors_total: "counter",
      weft_peers_refused_total: "counter",
    }))
      assert.match(text, new RegExp(`^# TYPE ${name} ${kind}$`, "m"));
  });

  test("counts a request under its listener, route, service, method, status and code", async () => {
    await ask("/up");
    await ask("/nowhere");
    await eventually("the counts", async () => {
      const text = await gateway.ask("/metrics");
      return (
        /^weft_requests_total\{mode="gateway",listener="web",route="up",service="up",method="GET",status="200",code=""\} \d/m.test(
          text,
        ) &&
        /^weft_requests_total\{mode="gateway",listener="web",route="",service="",method="GET",status="404",code="no-route"\} 1$/m.test(
          text,
        ) &&
        /^weft_response_bytes_total\{[^}]*route="up"[^}]*\} \d*[05]$/m.test(text) &&
        /^weft_request_duration_seconds_count\{[^}]*route="up"[^}]*\} \d/m.test(text)
      );
    });
  });

  test("times plugins from their first call on, with the wait of those that wait", async () => {
    await ask("/up");
    for (const plugin of ["request-id", "security-headers", "late"])
      await eventually(`a time of ${plugin}`, async () =>
        gateway.metric("weft_plugin_duration_seconds_count", { plugin }),
      );
    const seconds = await gateway.metric("weft_plugin_duration_seconds_sum", { plugin: "late" });
    assert.ok(seconds >= 0.019, `${seconds} s`);
  });

  test("attempts are requests and retries; an endpoint is named by its configured address", async () => {
    const statuses = await ask("/half", 20);
    assert.deepEqual(new Set(statuses), new Set([200]));
    await eventually("the attempts", async () => {
      const attempts = await gateway.metric("weft_attempts_total", { service: "half" });
      const requests = await gateway.metric("weft_requests_total", { service: "half" });
      const retries = await gateway.metric("weft_retries_total", {
        service: "half",
        reason: "connect-failure",
      });
      return requests === 20 && retries > 0 && attempts === requests + retries;
    });
    const endpoint = `127.0.0.1:${dead}`;
    assert.ok((await gateway.metric("weft_attempts_total", { endpoint })) >= 5);
    assert.equal(await gateway.metric("weft_ejections_total", { service: "half", endpoint }), 1);
    await eventually("the endpoint to be out", async () =>
      /weft_endpoint_healthy\{service="half",endpoint="127\.0\.0\.1:\d+"\} 0/.test(
        await gateway.ask("/metrics"),
      ),
    );
  });

  test("limits, failing plugins and an absent store have their counters", async () => {
    assert.deepEqual(await ask("/limited", 3), [200, 429, 429]);
    assert.deepEqual(await ask("/broken"), [500]);
    await ask("/stored");
    await eventually("the counts", async () => {
      const labels = { route: "limited", policy: "tight" };
      return (
        (await gateway.metric("weft_rate_limited_total", labels)) === 2 &&
        (await gateway.metric("weft_plugin_errors_total", { plugin: "broken" })) === 1 &&
        (await gateway.metric("weft_store_errors_total", { store: "redis" })) >= 1 &&
        (await gateway.ask("/metrics")).includes('weft_store_up{store="redis"} 0')
      );
    });
  });

  test("a caller that went away is status 499, code client-closed", async () => {
    // silent from here on, on a connection of its own: those that are open go on answering
    origin.script = () => {};
    for (const connection of origin.connections) connection.end();
    const client = await gateway.connect();
    const known = origin.connections.length;
    await client.send("GET /up HTTP/1.1\r\nHost: a\r\n\r\n");
    await origin.until("the request", () =>
      origin.connections.slice(known).some((connection) => connection.text.includes("GET /up")),
    );
    client.reset();
    await eventually("the count", () =>
      gateway.metric("weft_requests_total", { status: "499", code: "client-closed" }),
    );
  });
});
