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
import { StreamOrigin } from "./stream-origin.ts";

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
  private readonly secure: MoodyOrigin;
  private readonly streams: StreamOrigin;

  private constructor(
    gateway: Gateway,
    origins: readonly [MoodyOrigin, MoodyOrigin, StreamOrigin],
  ) {
    this.gateway = gateway;
    [this.origin, this.secure, this.streams] = origins;
  }

  static async start(): Promise<Besieged> {
    const authority = await testAuthority();
    const pair = await signed(authority, { dns: ["a.test"] });
    const origins = [
      await MoodyOrigin.start(),
      await MoodyOrigin.start(pair),
      await StreamOrigin.start(),
    ] as const;
    const [origin, secure, streams] = origins.map(({ port }) => port) as [number, number, number];
    const nobody = await freePort();
    const gateway = await Gateway.start({
      ports: 4,
      files: { "a.crt": pair.cert, "a.key": pair.key, "ca.crt": authority.cert },
      config: (at) => configOf({ ...at, origin, secure, streams, nobody }),
    }).catch(async (error: unknown) => {
      await Promise.all(origins.map((one) => one.close()));
      throw error;
    });
    return new Besieged(gateway, origins);
  }

  get target(): Target {
    const [port, tlsPort, rawPort, passPort] = this.gateway.ports as [
      number,
      number,
      number,
      number,
    ];
    return { port, tlsPort, rawPort, passPort, origin: this.origin };
  }

  /** Waits until nothing is under way any more, lets go of idle connections, and looks. */
  async holdings(): Promise<Holdings> {
    const { gateway, origin } = this;
    await settled(gateway, ["downstream"]);
    await eventually("the origin's last request to be over", () => origin.busy === 0);
    for (const one of [origin, this.secure, this.streams]) one.hangUp();
    await settled(gateway, ["upstream"]);
    return lookInside(gateway, "a.test", ["downstream", "upstream"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
    for (const one of [this.origin, this.secure, this.streams]) await one.close();
  }
}

/** Waits until no exchange runs, and nobody is connected on these sides. */
export async function settled(
  gateway: Gateway,
  sides: readonly ("downstream" | "upstream")[],
): Promise<void> {
  const none = (metric: string, labels?: Record<string, string>) =>
    eventually(
      `${metric} ${JSON.stringify(labels ?? {})} to be 0`,
      async () => (await gateway.metric(metric, labels)) === 0,
      60_000,
    );
  await none("weft_active_requests");
  for (const side of sides) await none("weft_connections", { side });
}

/** What the worker says about itself, when asked for `/inside` at the first listener. */
export async function lookInside(
  gateway: Gateway,
  host: string,
  sides: readonly ("downstream" | "upstream")[],
): Promise<Holdings> {
  const client = await gateway.connect();
  await client.send(`GET /inside HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  const answer = await client.response();
  if (answer.status !== 200) throw new Error(`no look inside: ${answer.status} ${answer.body}`);
  await client.untilEnded();
  client.destroy();
  await settled(gateway, sides);
  const status = fs.readFileSync(`/proc/${gateway.child.pid}/status`, "utf8");
  return {
    ...(JSON.parse(answer.body) as Inside),
    activeRequests: await gateway.metric("weft_active_requests"),
    downstream: await gateway.metric("weft_connections", { side: "downstream" }),
    upstream: await gateway.metric("weft_connections", { side: "upstream" }),
    descriptors: fs.readdirSync(`/proc/${gateway.child.pid}/fd`).length,
    residentBytes: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024,
  };
}

function configOf(at: {
  readonly port: readonly number[];
  readonly admin: number;
  readonly origin: number;
  readonly secure: number;
  readonly streams: number;
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
    - { name: raw, host: 127.0.0.1, port: ${at.port[2]}, protocol: tcp, to: raw }
    - { name: pass, host: 127.0.0.1, port: ${at.port[3]}, protocol: tls, sni: { a.test: passed } }
services:
  moody: { endpoints: ["127.0.0.1:${at.origin}"] }
  two: { endpoints: ["127.0.0.1:${at.origin}", "localhost:${at.origin}"] }
  refused: { endpoints: ["127.0.0.1:${at.nobody}"] }
  empty: { endpoints: [] }
  raw: { endpoints: ["127.0.0.1:${at.origin}"], protocol: tcp }
  passed: { endpoints: ["127.0.0.1:${at.secure}"], protocol: tcp }
  secure: { endpoints: ["127.0.0.1:${at.secure}"], tls: { ca: ca.crt, serverName: a.test } }
  strange: { endpoints: ["127.0.0.1:${at.secure}"], tls: { serverName: a.test } }
  streams: { endpoints: ["127.0.0.1:${at.streams}"], protocol: http2 }
  # the same with connections of its own: aborts cut those of the other
  calm: { endpoints: ["127.0.0.1:${at.streams}"], protocol: http2 }
policies:
  default: { retry: { attempts: 0 }, ejection: { consecutive: 10000 } }
routes:
  - { hosts: [a.test], match: { path: { exact: /inside } }, respond: { status: 200 }, plugins: [${here}/plugins/inside.ts] }
  - { hosts: [a.test], match: { path: /refused }, to: refused }
  - { hosts: [a.test], match: { path: /empty }, to: empty }
  - { hosts: [a.test], match: { path: /retried }, to: two, policy: { retry: { attempts: 2, budget: { percent: 100, floor: 1000/s } } } }
  - { hosts: [a.test], match: { path: /secure }, to: secure }
  - { hosts: [a.test], match: { path: /strange }, to: strange }
  - { hosts: [a.test], match: { path: /grpc }, to: streams }
  - { hosts: [a.test], match: { path: /calm }, to: calm }
  - { hosts: [a.test], match: { path: /grpc-hurried }, to: streams, policy: { idleTimeout: 50ms } }
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
