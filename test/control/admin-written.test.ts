/** The configuration that the admin API shows is one that weft would load. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { stringify } from "yaml";
import { writeConfig } from "../../control/admin/written.ts";
import type { Config, ConfigPath } from "../../control/config.ts";
import { parseConfigText } from "../../control/load.ts";

const text = `
gateway:
  listeners: [{ name: web, host: 127.0.0.1, port: 8080, proxyProtocol: true }]
  trustedHops: 1
  limits: { idleTimeout: 90s, headerBytes: 64KiB }
services:
  orders:
    endpoints: [127.0.0.1:3001, { address: "[::1]:3002", weight: 2 }]
    policy: patient
    health: { path: /up, interval: 2s }
  empty: { endpoints: [] }
routes:
  - name: orders
    hosts: [api.example.com]
    match:
      - { path: /orders, methods: [GET], headers: { x-canary: "1", x-any: { present: true }, x-empty: "" } }
      - { path: { regex: '^/v\\d+/' }, query: { v: { regex: "2" } } }
    to: [{ service: orders, weight: 90 }, { service: empty, weight: 10 }]
    rewrite: { prefix: / }
    plugins:
      - rate-limit: { limit: 100/min }
        id: burst
        when: method != "OPTIONS"
      - cors
    policy: { timeout: 5s, retry: { attempts: 2, on: [503], budget: { percent: 20, floor: 10/s } }, ejection: { base: 1500ms } }
  - { name: old, match: { path: /v1 }, redirect: { path: /orders, status: 308 } }
  - { name: ping, match: { path: { exact: /ping } }, respond: { status: 204, body: "" } }
plugins:
  - request-id
  - headers: { response: { set: { x-a: b } } }
    enforced: true
policies:
  default: { timeout: 15s }
  patient: { timeout: 30s, balance: round-robin }
plans: { gold: { limit: 1000/min } }
access: { rules: [{ to: orders, from: [web], action: deny }] }
observe: { accessLog: { format: text, sample: 0.5 } }
drainTimeout: 20s
workers: 2
`;

async function load(source: string): Promise<Config> {
  const result = await parseConfigText(source, {
    file: "weft.yaml",
    format: "yaml",
    mode: "check",
    env: {},
  });
  if (!result.ok) assert.fail(JSON.stringify(result.problems));
  return result.config;
}

/** Places in the text are no part of what a configuration says, nor whether the admin block was written. */
function meaning(config: Config): unknown {
  return JSON.parse(
    JSON.stringify(config, (key, value: unknown) =>
      key === "path" && isPlace(value)
        ? undefined
        : key === "optionsPath" || key === "explicit"
          ? undefined
          : value,
    ),
  );
}
const isPlace = (value: unknown): value is ConfigPath => Array.isArray(value);

describe("the written configuration", () => {
  it("means the same when it is loaded again", async () => {
    const config = await load(text);
    const again = await load(stringify(writeConfig(config)));
    assert.deepEqual(meaning(again), meaning(config));
  });

  it("is in the words of the file", async () => {
    const written = writeConfig(await load(text)) as {
      routes: Record<string, unknown>[];
      drainTimeout: string;
      plans: unknown;
    };
    assert.equal(written.drainTimeout, "20s");
    assert.deepEqual(written.plans, { gold: { limit: "1000/min" } });
    assert.deepEqual(written.routes[1], {
      name: "old",
      match: { path: "/v1" },
      redirect: { path: "/orders", status: 308 },
    });
  });
});
