/** Limits of a running gateway, as operators see them: `GET /limits` and `weft limits top`; what runs at once over two workers. */

import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { weft } from "../cmd/cli.ts";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";

let origin: http.Server;
let gateway: Gateway;
let isHolding = true;
const waiting: http.ServerResponse[] = [];

before(async () => {
  origin = http.createServer((_req, res) => {
    if (isHolding) waiting.push(res);
    else res.end();
  });
  await new Promise<void>((done) => origin.listen(0, "127.0.0.1", done));
  const { port } = origin.address() as { port: number };
  gateway = await Gateway.start({
    args: ["--workers", "2"],
    config: ({ port: [web], admin }) => `
gateway: { listeners: [{ port: ${web}, host: 127.0.0.1 }] }
admin: { address: "127.0.0.1:${admin}" }
services: { origin: { endpoints: ["127.0.0.1:${port}"] } }
routes:
  - name: few
    match: { path: /few }
    respond: { status: 200, body: fine }
    plugins: [rate-limit: { limit: 3/h }, quota: { limit: 100/day, by: client, name: daily }]
  - { name: slow, match: { path: /slow }, to: origin, plugins: [concurrency: { limit: 4, by: route }] }
`,
  });
});
after(async () => {
  for (const res of waiting) res.end();
  await gateway?.stop("SIGKILL");
  origin.close();
  origin.closeAllConnections();
});

interface Asked {
  /** 0: no answer came. */
  readonly status: Promise<number>;
  /** `r` of the field ratelimit. */
  readonly left: Promise<string | undefined>;
  leave(): void;
}

/** On a connection of its own: any worker may take it. */
function ask(path: string): Asked {
  const options = { port: gateway.port, host: "127.0.0.1", path, agent: false };
  const req = http.get(options);
  const head = new Promise<http.IncomingMessage | null>((resolve) => {
    req.on("response", (res) => {
      res.resume();
      res.on("error", () => {});
      resolve(res);
    });
    req.on("error", () => resolve(null));
  });
  const status = head.then((res) => res?.statusCode ?? 0);
  const left = head.then((res) => /r=(\d+)/.exec(String(res?.headers["ratelimit"]))?.[1]);
  // a reset while its own FIN is under way would leave Node with a handle that it cannot close
  const leave = (): void => {
    if (req.socket?.writableEnded === false) req.socket.resetAndDestroy();
  };
  return { status, left, leave };
}

test("who is refused, by what, until when", async () => {
  const statuses = await Promise.all(Array.from({ length: 10 }, () => ask("/few").status));
  assert.equal(statuses.filter((status) => status === 200).length, 3);
  assert.equal(statuses.filter((status) => status === 429).length, 7);
  interface Shown {
    readonly name: string;
    readonly limited: number;
    readonly callers: readonly { caller: string; until: string; times: number }[];
  }
  const shown = await eventually("both workers' word", async () => {
    const all = JSON.parse(await gateway.ask("/limits")) as Shown[];
    const one = all.find(({ name }) => name === "default")!;
    return one.callers[0]?.times === 7 ? one : null;
  });
  assert.equal(shown.limited, 7);
  assert.equal(shown.callers[0]!.caller, "127.0.0.1");
  assert(Date.parse(shown.callers[0]!.until) > Date.now());
  const top = await weft(["limits", "top", "--admin", `127.0.0.1:${gateway.admin}`]);
  assert.equal(top.code, 0, top.stderr);
  assert.match(top.stdout, /127\.0\.0\.1 +default \(3\/h\) +few +\d{4}-\S+Z +7/);
});

test("no more run at once than the limit, over all workers, and every end frees a place", async () => {
  const first = Array.from({ length: 12 }, () => ask("/slow"));
  const refused = await eventually("eight to be refused", async () => {
    const known = await Promise.all(
      first.map(({ status }) => Promise.race([status, Promise.resolve(-1)])),
    );
    return known.filter((status) => status === 429).length === 8 ? known : null;
  });
  assert.equal(refused.filter((status) => status === -1).length, 4);
  await eventually("the four at the service", () => waiting.length === 4);
  // two are answered, two callers leave
  const running = first.filter((_, i) => refused[i] === -1);
  for (const res of waiting.splice(0, 2)) res.end("done");
  for (const res of waiting) res.flushHeaders();
  await Promise.all(running.map(({ status }) => status));
  for (const one of running) one.leave();
  isHolding = false;
  // the one that asks is inside itself: three more may enter
  await eventually("four places", async () => (await ask("/slow").left) === "3");
});
