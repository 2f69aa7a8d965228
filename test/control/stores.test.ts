import assert from "node:assert/strict";
import { test } from "node:test";
import { configOf, problemsOf } from "./loading.ts";

for (const [text, redis] of [
  ["stores: {}", null],
  ["stores: { redis: 'redis://127.0.0.1:6379' }", "redis://127.0.0.1:6379"],
  ["stores: { redis: 'rediss://u:p@store:6380/1' }", "rediss://u:p@store:6380/1"],
  [
    "stores: { redis: { cluster: ['127.0.0.1:7001', 'rediss://b:7002'] } }",
    ["redis://127.0.0.1:7001", "rediss://b:7002"],
  ],
  ["stores: { cluster: ['127.0.0.1:7001'] }", ["redis://127.0.0.1:7001"]],
] as const) {
  test(`${text} is understood`, async () => {
    assert.deepEqual((await configOf(text)).stores.redis, redis);
  });
}

for (const text of [
  "stores: { redis: { cluster: [] } }",
  "stores: { redis: { cluster: ['http://a'] } }",
  "stores: { cluster: [5] }",
  "stores: { redis: { nodes: ['a:1'] } }",
])
  test(`${text} is refused`, async () => assert((await problemsOf(text)).length > 0));
