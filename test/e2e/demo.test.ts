/** The demo as a newcomer runs it: every sentence of the contract's section on it. */

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

const root = path.resolve(import.meta.dirname, "../..");
const key = { "x-api-key": "demo-key" };

const direct = [process.execPath, path.join(root, "cmd/weft.ts"), "demo"];

interface Service {
  readonly name: string;
  readonly endpoints: readonly { readonly healthy: boolean; readonly state: string }[];
}

/** A demo on ports of its own, with a temporary folder of its own. */
class Demo {
  readonly temporary = mkdtempSync(path.join(tmpdir(), "weft-demo-test-"));
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  output = "";

  constructor(args: readonly string[], start: readonly string[] = direct) {
    const [program, ...argv] = [...start, ...args];
    const env = { ...process.env, TMPDIR: this.temporary };
    this.child = spawn(program!, argv, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding("utf8").on("data", (text: string) => (this.output += text));
    }
    this.ended = once(this.child, "close").then(([code]) => code as number | null);
  }

  /** Resolves when the screen is there; rejects with the output when the demo ends before. */
  async ready(): Promise<void> {
    const shown = Promise.withResolvers<void>();
    const look = () => this.output.includes("Ctrl-C ends everything") && shown.resolve();
    this.child.stdout!.on("data", look);
    await Promise.race([
      shown.promise,
      this.ended.then((code) => Promise.reject(new Error(`ended with ${code}:\n${this.output}`))),
    ]);
  }

  url(label: "gateway" | "dashboard"): string {
    return new RegExp(`${label} +(http://127\\.0\\.0\\.1:\\d+)`).exec(this.output)![1]!;
  }

  /** Process ids of the children, by the kernel's own list. */
  children(): number[] {
    const { pid } = this.child;
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").map(Number);
  }

  async destroy(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
    rmSync(this.temporary, { recursive: true, force: true });
  }
}

const isRunning = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

describe("weft demo", () => {
  let demo: Demo;
  let gateway: string;

  before(async () => {
    demo = new Demo(["--port", "0", "--admin-port", "0"]);
    await demo.ready();
    gateway = demo.url("gateway");
  });
  after(() => demo.destroy());

  async function ask(target: string, init: RequestInit = {}) {
    const response = await fetch(`${gateway}${target}`, init);
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json") === true;
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson ? JSON.parse(text) : null,
    };
  }

  it("prints where everything is and what to try, on one screen", () => {
    const lines = demo.output.split("\n");
    assert.ok(lines.length <= 40, `${lines.length} lines`);
    assert.ok(
      lines.every((line) => line.length <= 80),
      "80 columns",
    );
    for (const target of ["/orders", "/admin", "/limited", "/forbidden", "/chaos/kill"]) {
      assert.ok(
        demo.output.includes(`curl`) && demo.output.includes(`${gateway}${target}`),
        target,
      );
    }
  });

  it("answers /orders with the key: who, which instance, and the caller as the mesh verified it", async () => {
    const instances = new Set<string>();
    for (let i = 0; i < 40; i++) {
      const { status, json } = await ask("/orders", { headers: key });
      assert.equal(status, 200);
      assert.equal(json.service, "orders");
      assert.equal(json.peer, "spiffe://weft.local/service/gateway");
      instances.add(json.instance);
    }
    assert.deepEqual([...instances].sort(), ["orders-1", "orders-2"]);
  });

  it("answers /payments with the key", async () => {
    const { status, json } = await ask("/payments", { headers: key });
    assert.equal(status, 200);
    assert.equal(json.service, "payments");
  });

  it("wants the key for /orders and /payments", async () => {
    for (const target of ["/orders", "/orders/1", "/payments"]) {
      const { status, headers, json } = await ask(target);
      assert.equal(status, 401, target);
      assert.ok(headers.has("www-authenticate"));
      assert.equal(json.code, "unauthenticated");
    }
    assert.equal((await ask("/orders", { headers: { "x-api-key": "wrong" } })).status, 401);
  });

  it("keeps the demo consumer out of /admin", async () => {
    assert.equal((await ask("/admin", { headers: key })).status, 403);
    assert.equal((await ask("/admin")).status, 401);
  });

  it("has no route for /nowhere, and / is exact", async () => {
    const { status, json } = await ask("/nowhere");
    assert.equal(status, 404);
    assert.equal(json.code, "no-route");
  });

  it("lets five of six requests at once through /limited", async () => {
    const answers = await Promise.all(Array.from({ length: 6 }, () => ask("/limited")));
    const statuses = answers.map(({ status }) => status).sort();
    assert.deepEqual(statuses, [200, 200, 200, 200, 200, 429]);
    const refused = answers.find(({ status }) => status === 429)!;
    assert.ok(Number(refused.headers.get("retry-after")) > 0);
    assert.equal(refused.json.code, "rate-limited");
  });

  it("shows web's answer with those of orders and payments, which web called through its sidecar", async () => {
    const { status, json } = await ask("/");
    assert.equal(status, 200);
    assert.equal(json.service, "web");
    assert.equal(json.orders.service, "orders");
    assert.equal(json.payments.service, "payments");
    for (const one of [json.orders, json.payments])
      assert.equal(one.peer, "spiffe://weft.local/service/web");
  });

  it("takes nobody's word for who calls", async () => {
    const headers = { ...key, "x-weft-peer": "spiffe://weft.local/service/forged" };
    assert.equal(
      (await ask("/orders", { headers })).json.peer,
      "spiffe://weft.local/service/gateway",
    );
  });

  it("shows the mesh's 403 and its rule on /forbidden", async () => {
    const { status, json } = await ask("/forbidden");
    assert.equal(status, 403);
    assert.equal(json.service, "payments");
    assert.equal(json.answer.status, 403);
    assert.equal(json.answer.code, "forbidden");
    assert.match(JSON.stringify(json.answer), /access\.rules\[1\]/);
  });

  it("has the dashboard on its own port, and services with their endpoints behind it", async () => {
    const dashboard = demo.url("dashboard");
    const page = await fetch(`${dashboard}/`);
    assert.equal(page.status, 200);
    assert.match(await page.text(), /<title>weft<\/title>/);
    assert.equal((await fetch(`${dashboard}/readyz`)).status, 200);
    const shown = await fetch(`${dashboard}/services`);
    const services = (await shown.json()) as Service[];
    const orders = services.find(({ name }) => name === "orders")!;
    assert.deepEqual(
      orders.endpoints.map(({ healthy }) => healthy),
      [true, true],
    );
    const metrics = await (await fetch(`${dashboard}/metrics`)).text();
    assert.match(metrics, /weft_requests_total\{[^}]*route="orders"[^}]*\} \d+/);
  });

  it("fails no later /orders when one instance is killed", async () => {
    const { status, json } = await ask("/chaos/kill", { method: "POST" });
    assert.equal(status, 200);
    const [left] = json.left as string[];
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all(
        Array.from({ length: 5 }, () => ask("/orders", { headers: key })),
      );
      for (const answer of answers) {
        assert.equal(answer.status, 200, answer.text);
        assert.equal(answer.json.instance, left);
      }
    }
    assert.equal((await ask("/orders", { method: "POST", headers: key })).status, 200);
    assert.equal((await ask("/")).status, 200);
    assert.equal((await ask("/chaos/kill", { method: "POST" })).status, 409);
    const services = await fetch(`${demo.url("dashboard")}/services`);
    const shown = (await services.json()) as Service[];
    const states = shown.find(({ name }) => name === "orders")!.endpoints.map(({ state }) => state);
    assert.deepEqual(states.sort(), ["ejected", "healthy"]);
  });

  it("writes below a temporary folder only, and ends everything on SIGTERM with code 0", async () => {
    const children = demo.children();
    assert.ok(children.length >= 6, `${children.length} children`);
    for (const pid of children) assert.ok(isRunning(pid));
    assert.equal(readdirSync(demo.temporary).length, 1);
    demo.child.kill("SIGTERM");
    assert.equal(await demo.ended, 0, demo.output);
    assert.deepEqual(children.filter(isRunning), []);
    assert.deepEqual(readdirSync(demo.temporary), []);
    await assert.rejects(fetch(gateway));
  });
});

describe("weft demo at its edges", () => {
  it("ends on Ctrl-C with code 0 while it is still starting", async (t) => {
    const demo = new Demo(["--port", "0", "--admin-port", "0"]);
    t.after(() => demo.destroy());
    const folder = Promise.withResolvers<void>();
    const timer = setInterval(() => readdirSync(demo.temporary).length > 0 && folder.resolve(), 5);
    await folder.promise;
    clearInterval(timer);
    demo.child.kill("SIGINT");
    assert.equal(await demo.ended, 0, demo.output);
    assert.deepEqual(readdirSync(demo.temporary), []);
  });

  it("runs as npm start, which ends with it and with its code", async (t) => {
    const demo = new Demo(["--port", "0", "--admin-port", "0"], ["npm", "start", "--"]);
    t.after(() => demo.destroy());
    await demo.ready();
    const gateway = demo.url("gateway");
    assert.equal((await fetch(gateway)).status, 200);
    demo.child.kill("SIGTERM");
    assert.equal(await demo.ended, 0, demo.output);
    await assert.rejects(fetch(gateway));
    assert.deepEqual(
      readdirSync(demo.temporary).filter((name) => name.startsWith("weft")),
      [],
    );
  });

  it("leaves no child behind when it is killed itself", async (t) => {
    const demo = new Demo(["--port", "0", "--admin-port", "0"]);
    t.after(() => demo.destroy());
    await demo.ready();
    const children = demo.children();
    demo.child.kill("SIGKILL");
    await demo.ended;
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        if (children.some(isRunning)) return;
        clearInterval(timer);
        resolve();
      }, 20);
    });
  });

  for (const [option, other] of [
    ["--port", "--admin-port"],
    ["--admin-port", "--port"],
  ] as const) {
    it(`names a taken port and ends with code 3: ${option}`, async (t) => {
      const server = net.createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      t.after(() => server.close());
      const { port } = server.address() as net.AddressInfo;
      const demo = new Demo([option, String(port), other, "0"]);
      t.after(() => demo.destroy());
      assert.equal(await demo.ended, 3);
      assert.match(demo.output, new RegExp(`port ${port} .*taken.*${option} N`));
    });
  }

  it("ships the configurations that it runs", () => {
    for (const name of ["gateway", "web", "orders", "payments"]) {
      assert.ok(existsSync(path.join(root, "examples/demo", `${name}.yaml`)), name);
    }
  });
});
