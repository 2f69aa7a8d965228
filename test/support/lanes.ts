/** Many small worlds behind one gateway: each test takes a lane, a host with a service and an origin of its own. */

import type { RawClient } from "./raw-client.ts";
import { Gateway } from "./gateway.ts";
import { Origin } from "./origin.ts";
import type { OriginOptions, Script } from "./origin.ts";
import { freePorts } from "./ports.ts";

/** Lanes of one kind. */
export interface LaneKind {
  readonly count: number;
  /** YAML flow text of the route's policy, e.g. `{ timeout: 1s }`. */
  readonly policy?: string;
  /** YAML flow text of the route's plugins. */
  readonly plugins?: string;
  /** Endpoints of each lane; default 1. */
  readonly endpoints?: number;
  /** More keys of the service, YAML flow, without braces: `tls: { ... }`. */
  readonly service?: string;
}

/** What is common to all lanes. */
export interface LaneOptions {
  /** `default` is what `lane()` takes. */
  readonly kinds: Readonly<Record<string, LaneKind>>;
  /** YAML flow text of `gateway.limits`. */
  readonly limits?: string;
  /** More top-level YAML. */
  readonly more?: string;
  /** Default 1: most tests look at one connection at a time. */
  readonly workers?: number;
  /** Further files beside the configuration, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

/** One lane: send to `host` on the gateway, and `origin` sees it. */
export class Lane {
  readonly host: string;
  readonly gateway: Gateway;
  readonly origins: readonly Origin[];

  constructor(host: string, gateway: Gateway, origins: readonly Origin[]) {
    this.host = host;
    this.gateway = gateway;
    this.origins = origins;
  }

  get origin(): Origin {
    return this.origins[0]!;
  }

  connect(): Promise<RawClient> {
    return this.gateway.connect();
  }

  /** A request head with this lane's Host; `lines` without their CRLF. */
  head(start: string, ...lines: string[]): string {
    return `${start} HTTP/1.1\r\nHost: ${this.host}\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.origins.map((origin) => origin.close()));
  }
}

/** The gateway with all its lanes. */
export class Lanes {
  readonly gateway: Gateway;
  private readonly free: Map<string, { host: string; ports: number[] }[]>;

  private constructor(gateway: Gateway, free: Map<string, { host: string; ports: number[] }[]>) {
    this.gateway = gateway;
    this.free = free;
  }

  static async start(options: LaneOptions): Promise<Lanes> {
    const total = Object.values(options.kinds).reduce(
      (sum, kind) => sum + kind.count * (kind.endpoints ?? 1),
      0,
    );
    const ports = await freePorts(total);
    const free = new Map<string, { host: string; ports: number[] }[]>();
    const services: string[] = [];
    const routes: string[] = [];
    for (const [name, kind] of Object.entries(options.kinds)) {
      const lanes = Array.from({ length: kind.count }, (_, i) => {
        const id = `${name}-${i}`;
        const mine = ports.splice(0, kind.endpoints ?? 1);
        const endpoints = mine.map((port) => `"127.0.0.1:${port}"`).join(", ");
        services.push(
          `  ${id}: { endpoints: [${endpoints}]${kind.service === undefined ? "" : `, ${kind.service}`} }`,
        );
        const more = [
          kind.policy === undefined ? "" : `, policy: ${kind.policy}`,
          kind.plugins === undefined ? "" : `, plugins: ${kind.plugins}`,
        ].join("");
        routes.push(`  - { name: ${id}, hosts: [${id}.test], to: ${id}${more} }`);
        return { host: `${id}.test`, ports: mine };
      });
      free.set(name, lanes);
    }
    const gateway = await Gateway.start({
      files: options.files ?? {},
      config: ({ port, admin }) => `
gateway:
  listeners: [{ name: web, host: 127.0.0.1, port: ${port[0]} }]
${options.limits === undefined ? "" : `  limits: ${options.limits}`}
services:
${services.join("\n")}
routes:
${routes.join("\n")}
admin: { address: "127.0.0.1:${admin}" }
workers: ${options.workers ?? 1}
${options.more ?? ""}
`,
    });
    return new Lanes(gateway, free);
  }

  /** A lane that no test has used, with its origins listening. */
  async lane(script?: Script, kind = "default", options?: OriginOptions): Promise<Lane> {
    for (;;) {
      const lane = this.closedLane(kind);
      const started = await Promise.allSettled(
        lane.ports.map((port) => Origin.start(script, { ...options, port })),
      );
      const origins = started.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
      if (origins.length === lane.ports.length) return new Lane(lane.host, this.gateway, origins);
      await Promise.all(origins.map((origin) => origin.close()));
      // the ports were free when the gateway was told of them: another test may have one now
      const failed = started.find((one) => one.status === "rejected")!;
      if ((failed.reason as NodeJS.ErrnoException).code !== "EADDRINUSE") throw failed.reason;
    }
  }

  /** A lane whose endpoints nobody listens on. */
  closedLane(kind = "default"): { readonly host: string; readonly ports: number[] } {
    const lane = this.free.get(kind)?.pop();
    if (lane === undefined) throw new Error(`no lane of kind ${kind} left: raise its count`);
    return lane;
  }

  stop(): Promise<number | null> {
    return this.gateway.stop();
  }
}
