/** A gateway with a route for every way to fail, and what it holds. */

import fs from "node:fs";
import { eventually } from "../support/eventually.ts";
import { Gateway } from "../support/gateway.ts";
import { freePort } from "../support/ports.ts";
import { signed, testAuthority } from "../support/certificates.ts";
import { root } from "../support/source-tree.ts";
import { faultyHooks, faultyInstances } from "./aborts.ts";
import type { Target } from "./aborts.ts";
import type { Inside } from "./plugins/inside.ts";
import { MoodyOrigin } from "./moody-origin.ts";

/** Everything that could leak. */
export interface Holdings extends Inside {
  readonly activeRequests: number;
  readonly downstream: number;
  readonly upstream: number;
  readonly descriptors: number;
  readonly residentBytes: number;
}

/** The gateway, its origin, and the looks into it. */
export class Besieged {
  readonly gateway: Gateway;
  readonly origin: MoodyOrigin;

  private constructor(gateway: Gateway, origin: MoodyOrigin) {
    this.gateway = gateway;
    this.origin = origin;
  }

  static async start(): Promise<Besieged> {
    const origin = await MoodyOrigin.start();
    const nobody = await freePort();
    const pair = await signed(await testAuthority(), { dns: ["a.test"] });
    const gateway = await Gateway.start({
      ports: 2,
      files: { "a.crt": pair.cert, "a.key": pair.key },
      config: ({ port, admin }) => configOf({ port, admin, origin: origin.port, nobody }),
    }).catch(async (error: unknown) => {
      await origin.close();
      throw error;
    });
    return new Besieged(gateway, origin);
  }

  get target(): Target {
    const [port, tlsPort] = this.gateway.ports as [number, number];
    return { port, tlsPort, origin: this.origin };
  }

  /** Waits until nothing is under way any more, lets go of idle connections, and looks. */
  async holdings(): Promise<Holdings> {
    const { gateway, origin } = this;
    const none = (metric: string, labels?: Record<string, string>) =>
      eventually(
        `${metric} ${JSON.stringify(labels ?? {})} to be 0`,
        async () => {
          return (await gateway.metric(metric, labels)) === 0;
        },
        60_000,
      );
    await none("weft_active_requests");
    await none("weft_connections", { side: "downstream" });
    await eventually("the origin's last request to be over", () => origin.busy === 0);
    origin.hangUp();
    await none("weft_connections", { side: "upstream" });
    const inside = await this.look();
    await none("weft_connections", { side: "downstream" });
    return {
      ...inside,
      activeRequests: await gateway.metric("weft_active_requests"),
      downstream: await gateway.metric("weft_connections", { side: "downstream" }),
      upstream: await gateway.metric("weft_connections", { side: "upstream" }),
      descriptors: fs.readdirSync(`/proc/${gateway.child.pid}/fd`).length,
      residentBytes: this.residentBytes(),
    };
  }

  /** What the worker says about itself. */
  async look(): Promise<Inside> {
    const client = await this.gateway.connect();
    await client.send("GET /inside HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    const answer = await client.response();
    if (answer.status !== 200) throw new Error(`no look inside: ${answer.status} ${answer.body}`);
    await client.untilEnded();
    client.destroy();
    return JSON.parse(answer.body) as Inside;
  }

  residentBytes(): number {
    const status = fs.readFileSync(`/proc/${this.gateway.child.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
    await this.origin.close();
  }
}

function configOf(at: {
  readonly port: readonly number[];
  readonly admin: number;
  readonly origin: number;
  readonly nobody: number;
}): string {
  const here = `${root}/test/leaks`;
  const faulty = faultyHooks.flatMap((hook) =>
    Array.from({ length: faultyInstances }, (_, n) => {
      const path = `/faulty/${hook}/${n}`;
      return `  - { hosts: [a.test], match: { path: ${path} }, to: moody, plugins: [{ ${here}/plugins/faulty.ts: { hook: ${hook}, n: ${n} } }] }`;
    }),
  );
  return `
gateway:
  listeners:
    - { name: web, host: 127.0.0.1, port: ${at.port[0]} }
    - { name: secure, host: 127.0.0.1, port: ${at.port[1]}, tls: { certificates: [{ cert: a.crt, key: a.key }] } }
services:
  moody: { endpoints: ["127.0.0.1:${at.origin}"] }
  two: { endpoints: ["127.0.0.1:${at.origin}", "localhost:${at.origin}"] }
  refused: { endpoints: ["127.0.0.1:${at.nobody}"] }
  empty: { endpoints: [] }
policies:
  default: { retry: { attempts: 0 }, ejection: { consecutive: 10000 } }
routes:
  - { hosts: [a.test], match: { path: { exact: /inside } }, respond: { status: 200 }, plugins: [${here}/plugins/inside.ts] }
  - { hosts: [a.test], match: { path: /refused }, to: refused }
  - { hosts: [a.test], match: { path: /empty }, to: empty }
  - { hosts: [a.test], match: { path: /retried }, to: two, policy: { retry: { attempts: 2, budget: { percent: 100, floor: 1000/s } } } }
  - { hosts: [a.test], match: { path: /hurried }, to: moody, policy: { timeout: 50ms } }
  - { hosts: [a.test], match: { path: /tried }, to: moody, policy: { attemptTimeout: 50ms } }
  - { hosts: [a.test], match: { path: /stuck }, to: moody, policy: { idleTimeout: 50ms } }
  - { hosts: [a.test], match: { path: /total }, to: moody, policy: { totalTimeout: 50ms } }
${faulty.join("\n")}
  - { hosts: [a.test], to: moody }
plugins: [request-id]
admin: { address: "127.0.0.1:${at.admin}" }
workers: 1
`;
}
