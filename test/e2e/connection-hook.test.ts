/** The `connection` hook: asked once per connection, before a byte is read; a reply closes it. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Gateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";

const plugin = `
import { definePlugin, reply } from "weft/plugin";
const door = definePlugin({
  name: "door", stage: "admit",
  setup(_, host) {
    let connections = 0;
    return {
      connection(conn) {
        connections++;
        if (conn.listener === "shut") return reply(403);
      },
      response(res) { res.headers.set("x-connections", String(connections)); },
    };
  },
});
export { door as default };
`;

describe("the connection hook", () => {
  it("counts connections, not requests, and closes those that it refuses", async () => {
    await using gateway = await Gateway.start({
      ports: 2,
      files: { "door.ts": plugin },
      config: ({ port, admin }) => `
gateway:
  listeners:
    - { name: open, host: 127.0.0.1, port: ${port[0]} }
    - { name: shut, host: 127.0.0.1, port: ${port[1]} }
plugins: [./door.ts]
routes: [{ name: all, respond: { status: 200 } }]
admin: { address: "127.0.0.1:${admin}" }
workers: 1
`,
    });
    const client = await gateway.connect();
    for (let request = 0; request < 3; request++) {
      await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      assert.equal((await client.response()).header("x-connections"), "1");
    }
    const [, shut] = gateway.ports as [number, number];
    const refused = await RawClient.connect(shut);
    assert.equal(await refused.untilEnded(), "");
  });
});
