/** The main thread's view of services: it owns their rows in shared memory, checks their health and shows their state. */

import { readIdentity, MeshIdentity, domainsOf } from "../mesh/identity.ts";
import { serviceSpecs } from "../control/compile/targets.ts";
import type { EndpointState } from "../control/admin/source.ts";
import type { Config } from "../control/config.ts";
import { Wheel } from "../proxy/clock.ts";
import type { SharedState } from "../proxy/observe/shared.ts";
import type { Log } from "../proxy/pipeline/plugin.ts";
import { HealthChecker } from "../proxy/service/health.ts";
import { ServiceSet } from "../proxy/service/set.ts";
import { createDial } from "../proxy/upstream/connect.ts";
import type { ProcessMetrics } from "./process-metrics.ts";

export class MainServices {
  private readonly set: ServiceSet;
  private readonly checker: HealthChecker;
  private readonly wheel = new Wheel();
  private readonly log: Log;
  private readonly mode: "gateway" | "mesh";

  constructor(
    mode: "gateway" | "mesh",
    shared: SharedState,
    parts: { readonly metrics: ProcessMetrics; readonly log: Log },
  ) {
    this.mode = mode;
    this.log = parts.log;
    this.set = new ServiceSet({ shared, metrics: parts.metrics.own, owner: true });
    this.wheel.start();
    this.checker = new HealthChecker({
      dial: createDial({ wheel: this.wheel, now: () => performance.now() }),
      changed: (endpoint, healthy, reason) => {
        const fields = { service: endpoint.service, endpoint: endpoint.address, reason };
        if (healthy) this.log.info("endpoint is healthy", fields);
        else this.log.warn("endpoint is unhealthy", fields);
      },
    });
  }

  /** Puts a configuration in effect that workers have found to be right. */
  async apply(config: Config): Promise<void> {
    const identity = await this.identityOf(config);
    this.set.apply(serviceSpecs(config, { mode: this.mode, identity }, []));
    this.checker.watch(this.set.services.values());
  }

  states(service: string): readonly EndpointState[] {
    return this.set.states(service);
  }

  /** Writes the gauges of endpoints. */
  publish(): void {
    this.set.publishHealth();
  }

  close(): void {
    this.checker.close();
    this.wheel.stop();
  }

  /** Health checks of meshed services show the same identity as the traffic. */
  private async identityOf(config: Config): Promise<MeshIdentity | null> {
    const { mesh } = config;
    if (mesh === null || mesh.identity === null) return null;
    try {
      return new MeshIdentity(await readIdentity(mesh.identity), {
        service: mesh.service,
        trustDomain: mesh.trustDomain,
        otherDomains: domainsOf((config.access?.rules ?? []).flatMap((rule) => rule.from)),
        ticketKeys: null,
        log: this.log,
        refused: () => {},
        wallNow: () => Date.now(),
      });
    } catch {
      // the workers read the same files and say what is wrong with them
      return null;
    }
  }
}
