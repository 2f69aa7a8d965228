/** A gateway that speaks HTTP/2 on a plain and on a TLS listener, before a scripted origin. */

import { Gateway } from "../../support/gateway.ts";
import { signed, testAuthority } from "../../support/certificates.ts";
import { Origin, answering, ok, type Script } from "../../support/origin.ts";
import { FrameClient, type FrameClientOptions } from "./frame-client.ts";

/** What differs between test files. */
export interface ServingOptions {
  /** `gateway.limits`, in YAML. */
  readonly limits?: string;
  readonly script?: Script;
  /** Address of another service than the scripted one. */
  readonly service?: string;
  /** Further lines of the route, e.g. its policy. */
  readonly route?: string;
  /** Further routes, lines of YAML. */
  readonly routes?: string;
}

/** An answer to every request that says what arrived. */
export const echo: Script = answering((request) => ok(request.body, "X-Seen: 1\r\n"));

export class Serving {
  readonly gateway: Gateway;
  readonly origin: Origin;

  private constructor(gateway: Gateway, origin: Origin) {
    this.gateway = gateway;
    this.origin = origin;
  }

  static async start(options: ServingOptions = {}): Promise<Serving> {
    const origin = await Origin.start(options.script ?? echo);
    try {
      const pair = await signed(await testAuthority(), { dns: ["test.example"] });
      const gateway = await Gateway.start({
        ports: 2,
        files: { "test.crt": pair.cert, "test.key": pair.key },
        args: ["--workers", "1"],
        config: ({ port, admin }) => `
admin: { address: "127.0.0.1:${admin}" }
gateway:
  limits: ${options.limits ?? "{}"}
  listeners:
    - { name: plain, port: ${port[0]} }
    - name: secure
      port: ${port[1]}
      tls: { certificates: [{ cert: test.crt, key: test.key }] }
services:
  origin: { endpoints: ["${options.service ?? origin.address}"] }
routes:
  - { name: all, to: origin${options.route === undefined ? "" : `, ${options.route}`} }
${options.routes ?? ""}
`,
      });
      return new Serving(gateway, origin);
    } catch (error) {
      // a listening origin would keep the test file from ending
      await origin.close();
      throw error;
    }
  }

  connect(options: FrameClientOptions = {}): Promise<FrameClient> {
    return FrameClient.connect(this.gateway.ports[options.secure === true ? 1 : 0]!, options);
  }

  async stop(): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
    await this.origin.close();
  }
}
