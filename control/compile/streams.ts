/** `tcp`, `tls` and `auto` listeners: which service takes a connection, and by what plugins. */

import type { Config } from "../config.ts";
import type { Service } from "../../proxy/service/service.ts";
import type { Choice, StreamTarget } from "../../proxy/snapshot.ts";
import type { PluginLists } from "./plugin-lists.ts";
import { effectivePolicy, policyFor } from "./policy.ts";

/** By listener name. Names of services must have been checked. What is wrong with plugins is among the problems of `lists`. */
export async function streamTargets(
  config: Config,
  services: ReadonlyMap<string, Service>,
  lists: PluginLists,
): Promise<ReadonlyMap<string, StreamTarget>> {
  const targets = new Map<string, StreamTarget>();
  const choiceOf = (name: string): Choice => ({
    service: services.get(name)!,
    policy: effectivePolicy(policyFor(config, name, null), "gateway"),
  });
  for (const listener of config.gateway?.listeners ?? []) {
    const { name, protocol, to, sni, plugins } = listener;
    if (protocol === "http") continue;
    targets.set(name, {
      by: by[protocol],
      to: to === null ? null : choiceOf(to),
      named: byServerName(sni ?? {}, choiceOf),
      chain: await lists.tcpChain(plugins, name),
    });
  }
  return targets;
}

const by = { tcp: "listener", tls: "server-name", auto: "first-bytes" } as const;

/** The exact name, else the longest `*.suffix`: as hosts of routes. */
function byServerName(
  sni: Readonly<Record<string, string>>,
  choiceOf: (service: string) => Choice,
): StreamTarget["named"] {
  const choices = new Map(Object.entries(sni).map(([name, to]) => [name, choiceOf(to)]));
  return (serverName) => {
    if (serverName === null) return null;
    const exact = choices.get(serverName);
    if (exact !== undefined) return exact;
    for (let dot = serverName.indexOf("."); dot !== -1; dot = serverName.indexOf(".", dot + 1)) {
      const found = choices.get(`*${serverName.slice(dot)}`);
      if (found !== undefined) return found;
    }
    return null;
  };
}
