/** `tcp` and `tls` listeners: which service takes a connection. */

import type { Config } from "../config.ts";
import type { Service } from "../../proxy/service/service.ts";
import type { Choice, StreamTarget } from "../../proxy/snapshot.ts";
import { effectivePolicy, policyFor } from "./policy.ts";

/** By listener name. Names of services must have been checked. */
export function streamTargets(
  config: Config,
  services: ReadonlyMap<string, Service>,
): ReadonlyMap<string, StreamTarget> {
  const targets = new Map<string, StreamTarget>();
  const choiceOf = (name: string): Choice => ({
    service: services.get(name)!,
    policy: effectivePolicy(policyFor(config, name, null), "gateway"),
  });
  for (const listener of config.gateway?.listeners ?? []) {
    if (listener.protocol === "tcp") {
      const choice = choiceOf(listener.to!);
      targets.set(listener.name, { byServerName: false, choose: () => choice });
    } else if (listener.protocol === "tls") {
      targets.set(listener.name, byServerName(listener.sni!, choiceOf));
    }
  }
  return targets;
}

/** The exact name, else the longest `*.suffix`: as hosts of routes. */
function byServerName(
  sni: Readonly<Record<string, string>>,
  choiceOf: (service: string) => Choice,
): StreamTarget {
  const choices = new Map(Object.entries(sni).map(([name, to]) => [name, choiceOf(to)]));
  return {
    byServerName: true,
    choose: (serverName) => {
      if (serverName === null) return null;
      const exact = choices.get(serverName);
      if (exact !== undefined) return exact;
      for (let dot = serverName.indexOf("."); dot !== -1; dot = serverName.indexOf(".", dot + 1)) {
        const found = choices.get(`*${serverName.slice(dot)}`);
        if (found !== undefined) return found;
      }
      return null;
    },
  };
}
