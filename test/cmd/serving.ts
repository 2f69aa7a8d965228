/** What the tests of the process share: an upstream that answers, and the smallest gateway in front of it. */

import http from "node:http";
import type { AddressInfo } from "node:net";
import { eventually } from "../support/eventually.ts";
import { Gateway, type GatewayOptions } from "../support/gateway.ts";

/** Answers `hello PATH`; `/hold` waits for {@link Upstream.letGo}. */
export class Upstream {
  private readonly server: http.Server;
  private held: http.ServerResponse[] = [];
  private whenHeld: (() => void)[] = [];

  private constructor(server: http.Server) {
    this.server = server;
  }

  static async start(): Promise<Upstream> {
    const server = http.createServer((request, response) => {
      if (request.url === "/hold") upstream.hold(response);
      else response.end(`hello ${request.url}`);
    });
    const upstream = new Upstream(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return upstream;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Resolves when a request to `/hold` has arrived. */
  heldOne(): Promise<void> {
    if (this.held.length > 0) return Promise.resolve();
    return new Promise((resolve) => this.whenHeld.push(resolve));
  }

  /** Answers all that are held. */
  letGo(): void {
    for (const response of this.held.splice(0)) response.end("held and answered");
  }

  private hold(response: http.ServerResponse): void {
    this.held.push(response);
    for (const resolve of this.whenHeld.splice(0)) resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** `extra` is YAML at the top level; `routes` are lines under `routes:`. */
export interface SimpleOptions extends Omit<GatewayOptions, "config"> {
  readonly upstream: number;
  readonly extra?: string;
  readonly routes?: string;
  readonly workers?: number;
}

/** The text of a configuration with one route to the upstream. */
export function simpleConfig(
  at: { readonly port: readonly number[]; readonly admin: number },
  options: Pick<SimpleOptions, "upstream" | "extra" | "routes" | "workers">,
): string {
  return `
gateway:
  listeners: [{ name: web, host: 127.0.0.1, port: ${at.port[0]} }]
services:
  app: { endpoints: ["127.0.0.1:${options.upstream}"] }
routes:
${options.routes ?? "  - { name: all, to: app }"}
admin: { address: "127.0.0.1:${at.admin}" }
workers: ${options.workers ?? 2}
${options.extra ?? ""}
`;
}

/** Starts a gateway on {@link simpleConfig}. */
export function startSimple(options: SimpleOptions): Promise<Gateway> {
  return Gateway.start({ ...options, config: (at) => simpleConfig(at, options) });
}

/** GET on a connection of its own. */
export function get(
  port: number,
  path = "/",
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: string }> {
  return new Promise((resolve, reject) => {
    const request = http.get(
      { host: "127.0.0.1", port, path, headers, agent: false },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (text: string) => (body += text));
        response.on("error", reject);
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
      },
    );
    request.on("error", reject);
  });
}

/** The exit code, once it has ended by itself or by a signal already sent. */
export async function exitCode(gateway: Gateway): Promise<number | null> {
  const { child } = gateway;
  await eventually(
    "the process to end",
    () => child.exitCode !== null || child.signalCode !== null,
  );
  return child.exitCode;
}

/** A load that runs until it is stopped, or its test has failed. */
export interface Load extends AsyncDisposable {
  stop(): Promise<{ asked: number; failed: string[] }>;
}

/** Asks without pause on keep-alive-less connections until stopped; counts what was not 200. */
export function keepAsking(port: number): Load {
  let isOver = false;
  let asked = 0;
  const failed: string[] = [];
  const ask = async (): Promise<void> => {
    while (!isOver) {
      asked++;
      try {
        const { status } = await get(port);
        if (status !== 200) failed.push(String(status));
      } catch (error) {
        failed.push(String(error));
      }
    }
  };
  const all = Promise.all([ask(), ask(), ask(), ask()]);
  const stop = async () => {
    isOver = true;
    await all;
    return { asked, failed };
  };
  return {
    stop,
    [Symbol.asyncDispose]: async () => void (await stop()),
  };
}
