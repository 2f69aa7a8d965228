import assert from "node:assert/strict";
import { it } from "node:test";
import { defineConfig } from "../../control/define.ts";

it("defineConfig gives back what it was given, typed as people write it", () => {
  const config = defineConfig({
    gateway: {
      listeners: [{ port: 8080, tls: { certificates: [{ cert: "a", key: "b" }] } }],
      limits: { headerTimeout: "5s" },
    },
    services: {
      a: {
        endpoints: ["127.0.0.1:1", { address: "127.0.0.1:2", weight: 2 }],
        policy: { timeout: "1s" },
      },
    },
    routes: [
      { to: "a", match: { path: "/x" } },
      {
        to: [{ service: "a", weight: 1 }],
        match: [{ path: { regex: "^/" } }],
        plugins: ["cors", { jwt: { issuer: "x" }, when: "true" }],
      },
      // @ts-expect-error a number is no service
      { to: 5 },
      // @ts-expect-error an unknown key
      { too: "a" },
    ],
  });
  assert.equal(config.routes?.length, 4);
});
