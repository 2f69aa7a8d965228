/** Streams and WebSockets stay up while the configuration changes and the process drains; `npm run scale` has the full numbers. */

import { test } from "node:test";
import { judge, standTheTest } from "./standing.ts";

const plan = { streams: 1000, sockets: 500, reloads: 10 };

test("1,000 event streams and 500 WebSockets outlive ten reloads and a drain, on the configuration they began with", async (t) => {
  judge(plan, await standTheTest(plan, (line) => t.diagnostic(line)));
});
