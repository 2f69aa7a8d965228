/** gRPC's own interop server, in the clear and over TLS, behind a gateway that serves both ways too. */

import { signed, testAuthority } from "../support/certificates.ts";
import { Gateway } from "../support/gateway.ts";
import { freePorts } from "../support/ports.ts";
import { programPath } from "../support/programs.ts";
import { Program } from "../bench/process.ts";

/** How a caller reaches weft, and weft the server. */
export interface Crossing {
  readonly caller: "in the clear" | "over TLS";
  readonly server: "in the clear" | "over TLS";
}

const ways = ["in the clear", "over TLS"] as const;

/** Every way there is. */
export const crossings: readonly Crossing[] = ways.flatMap((caller) =>
  ways.map((server) => ({ caller, server })),
);

/** What a caller has to know to take a crossing. */
export interface Access {
  /** To connect to; in the clear it is the authority as well. */
  readonly host: string;
  readonly port: number;
  /** Name on the certificate, and the authority; null in the clear. */
  readonly serverName: string | null;
  /** File of the authority that signed the certificate. */
  readonly ca: string;
}

/** The server twice and a gateway in front of both: the authority chooses between them. */
export class GrpcServing {
  readonly gateway: Gateway;
  private readonly servers: readonly Program[];

  private constructor(gateway: Gateway, servers: readonly Program[]) {
    this.gateway = gateway;
    this.servers = servers;
  }

  static async start(): Promise<GrpcServing> {
    const authority = await testAuthority();
    const names = ["clear.test", "secure.test", "server.test"];
    const pair = await signed(authority, { dns: names });
    const [clear, secure] = (await freePorts(2)) as [number, number];
    const gateway = await Gateway.start({
      ports: 2,
      files: { "test.crt": pair.cert, "test.key": pair.key, "ca.crt": authority.cert },
      config: ({ port, admin }) => `
admin: { address: "127.0.0.1:${admin}" }
gateway:
  listeners:
    - { name: clear, port: ${port[0]} }
    - { name: secure, port: ${port[1]}, tls: { certificates: [{ cert: test.crt, key: test.key }] } }
services:
  clear: { endpoints: ["127.0.0.1:${clear}"], protocol: http2 }
  secure:
    endpoints: ["127.0.0.1:${secure}"]
    protocol: http2
    tls: { ca: ca.crt, serverName: server.test }
routes:
  - { name: clear, hosts: [127.0.0.1, clear.test], to: clear }
  - { name: secure, hosts: [localhost, secure.test], to: secure }
`,
    });
    const server = programPath("grpc-interop-server");
    const { folder } = gateway;
    const servers: Program[] = [];
    try {
      for (const [port, args] of [
        [clear, []],
        [
          secure,
          ["-use_tls", `-tls_cert_file=${folder}/test.crt`, `-tls_key_file=${folder}/test.key`],
        ],
      ] as const) {
        const command = [server, `-port=${port}`, ...args];
        servers.push(await Program.start("interop server", command, { core: null, ports: [port] }));
      }
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw error;
    }
    return new GrpcServing(gateway, servers);
  }

  access(crossing: Crossing): Access {
    const inTheClear = crossing.server === "in the clear";
    const secured = crossing.caller === "over TLS";
    return {
      // two names of one address: the routes go by the authority
      host: inTheClear || secured ? "127.0.0.1" : "localhost",
      port: this.gateway.ports[secured ? 1 : 0]!,
      serverName: secured ? (inTheClear ? "clear.test" : "secure.test") : null,
      ca: `${this.gateway.folder}/ca.crt`,
    };
  }

  async stop(): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
    for (const server of this.servers) await server.stop();
  }
}
