import { futureNames } from "../../plugins/registry.ts";
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { problemOf, problemsOf } from "./loading.ts";

const service = "services: { a: { endpoints: [] } }\n";

/** Every key and value that the contract names and that is not built yet, and where the problem points. */
const cases: readonly (readonly [text: string, path: string])[] = [
  ["gateway: { listeners: [{ port: 1 }], zone: a }", "gateway.zone"],
  ['services: { a: { endpoints: [{ address: "a:1", zone: b }] } }', "services.a.endpoints.0.zone"],
  [
    'services: { a: { endpoints: [{ address: "a:1", priority: 0 }] } }',
    "services.a.endpoints.0.priority",
  ],
  ...["dns", "srv", "registry", "etcd", "consul", "kubernetes"].map(
    (kind) => [`services: { a: { discover: "${kind}:x:1" } }`, "services.a.discover"] as const,
  ),
  [`${service}routes: [{ to: a, mirror: { service: a, percent: 10 } }]`, "routes.0.mirror"],
  ["policies: { a: { hedge: { after: p95 } } }", "policies.a.hedge"],
  ["policies: { a: { hedge: off } }", "policies.a.hedge"],
  ["policies: { a: { hedge: stalled } }", "policies.a.hedge"],
  ...["least-request", "random", "ring-hash", "maglev"].map(
    (name) => [`policies: { a: { balance: ${name} } }`, "policies.a.balance"] as const,
  ),
  ["policies: { a: { hash: { header: x } } }", "policies.a.hash"],
  ["policies: { a: { hash: client } }", "policies.a.hash"],
  ["policies: { a: { breaker: { connections: 1024 } } }", "policies.a.breaker"],
  ["policies: { a: { ejection: { successBelowPct: 80 } } }", "policies.a.ejection.successBelowPct"],
  ["policies: { a: { ejection: { minRequests: 5 } } }", "policies.a.ejection.minRequests"],
  ["policies: { a: { ejection: { window: 10s } } }", "policies.a.ejection.window"],
  ["policies: { a: { concurrency: adaptive } }", "policies.a.concurrency"],
  ["policies: { a: { concurrency: 10 } }", "policies.a.concurrency"],
  ["policies: { a: { fault: { delay: { percent: 1, for: 2s } } } }", "policies.a.fault"],
  ['mesh: { service: a, control: "127.0.0.1:15010" }', "mesh.control"],
  ["mesh: { service: a, token: x }", "mesh.token"],
  ["mesh: { service: a, state: ./weft-data }", "mesh.state"],
  ["mesh: { service: a, ports: { 5432: postgres } }", "mesh.ports"],
  ['observe: { tracing: { otlp: "http://127.0.0.1:4318", sample: 0.01 } }', "observe.tracing"],
  ["control: { port: 15010 }", "control"],
  ...futureNames.map((name) => [`plugins: [{ ${name}: {} }]`, `plugins.0.${name}`] as const),
];

describe("a key that the contract names and that is not built yet is refused", () => {
  for (const [text, path] of cases) {
    it(text.trim().replaceAll("\n", " "), async () => {
      const problem = await problemOf(text);
      assert.match(problem.message, /not supported yet/);
      assert.equal(problem.path.join("."), path);
    });
  }
});

it("such a key is refused beside other mistakes, and even when its value makes no sense", async () => {
  const problems = await problemsOf("control: 5\nrutes: []\npolicies: { a: { hash: [] } }");
  assert.deepEqual(
    problems.map((problem) => problem.message),
    ["not supported yet", 'unknown key "rutes"', "not supported yet"],
  );
});
