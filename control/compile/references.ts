/** Names in a configuration that nothing stands behind, and names that stand for two things. */

import { didYouMean } from "../suggest.ts";
import type {
  Config,
  ConfigPath,
  PluginUse,
  PolicyConfig,
  Problem,
  RouteConfig,
} from "../config.ts";
import { pathProblem } from "../../proxy/route/entry.ts";
import { RE2JS } from "re2js";
import { placeKey, useId } from "./uses.ts";

/** Problems that can be told from the configuration alone; what plugins say to their options is {@link import('./plugins.ts')}. */
export function checkReferences(config: Config): Problem[] {
  return [
    ...checkServices(config),
    ...checkListeners(config),
    ...checkRoutes(config),
    ...checkUses(config.plugins),
    ...checkConsumers(config),
  ];
}

function checkServices(config: Config): Problem[] {
  const problems: Problem[] = [];
  for (const [name, service] of Object.entries(config.services)) {
    problems.push(...checkPolicy(config, service.policy, ["services", name, "policy"]));
  }
  return problems;
}

function checkListeners(config: Config): Problem[] {
  const problems: Problem[] = [];
  const check = (service: string, path: ConfigPath): void => {
    if (!Object.hasOwn(config.services, service))
      problems.push(unknown("service", service, Object.keys(config.services), path));
  };
  for (const [index, { to, sni, plugins }] of (config.gateway?.listeners ?? []).entries()) {
    const at: ConfigPath = ["gateway", "listeners", index];
    problems.push(...checkUses(plugins));
    if (to !== null) check(to, [...at, "to"]);
    for (const [name, service] of Object.entries(sni ?? {})) check(service, [...at, "sni", name]);
  }
  return problems;
}

function checkRoutes(config: Config): Problem[] {
  const problems: Problem[] = [];
  for (const [index, route] of config.routes.entries()) {
    const at: ConfigPath = ["routes", index];
    for (const [i, { service }] of (route.to ?? []).entries()) {
      if (Object.hasOwn(config.services, service)) {
        if (config.services[service]!.protocol === "tcp" && !isForConnectAlone(route))
          problems.push({
            path: [...at, "to", i, "service"],
            at: "value",
            message: `"${service}" speaks tcp, and a route speaks HTTP`,
            expected:
              "a listener with protocol: tcp for it, match: { methods: [CONNECT] }, or another protocol of the service",
          });
        continue;
      }
      problems.push(
        unknown("service", service, Object.keys(config.services), [...at, "to", i, "service"]),
      );
    }
    problems.push(...checkPolicy(config, route.policy, [...at, "policy"]));
    for (const [i, match] of route.match.entries()) {
      const where = [...at, "match", i];
      const wrong = match.path === null ? null : pathProblem(match.path.kind, match.path.value);
      if (wrong !== null) {
        const path = [...where, "path", match.path!.kind];
        problems.push({ path, at: "value", message: wrong });
      }
      for (const part of ["headers", "query"] as const) {
        for (const [name, value] of Object.entries(match[part])) {
          const wrongValue = value.kind === "regex" ? regexProblem(value.value) : null;
          if (wrongValue === null) continue;
          problems.push({
            path: [...where, part, name, "regex"],
            at: "value",
            message: wrongValue,
          });
        }
      }
    }
    problems.push(...checkUses(route.plugins));
    problems.push(...checkEnforced(config, route.plugins));
  }
  return problems;
}

/** Nothing but tunnels takes this route. */
function isForConnectAlone({ match }: RouteConfig): boolean {
  return match.length > 0 && match.every(({ methods }) => methods?.every(isConnect) === true);
}

const isConnect = (method: string): boolean => method === "CONNECT";

function regexProblem(pattern: string): string | null {
  try {
    RE2JS.compile(pattern);
    return null;
  } catch (error) {
    return `not a regular expression: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Within one list an id stands for one use. */
function checkUses(uses: readonly PluginUse[]): Problem[] {
  const seen = new Set<string>();
  const problems: Problem[] = [];
  for (const use of uses) {
    const id = placeKey(use);
    if (seen.has(id)) {
      problems.push({
        path: use.path,
        at: "value",
        message: `"${id}" is twice in this list`,
        expected: "an id of its own for a second instance, such as id: second",
      });
    }
    seen.add(id);
  }
  return problems;
}

function checkEnforced(config: Config, uses: readonly PluginUse[]): Problem[] {
  const enforced = new Set(config.plugins.filter((use) => use.enforced).map(placeKey));
  return uses
    .filter((use) => enforced.has(placeKey(use)))
    .map((use) => ({
      path: use.path,
      at: "value" as const,
      message: `"${useId(use)}" is enforced for every route: this one can neither replace nor remove it`,
      expected: "no such plugin here, or another id for a second instance",
    }));
}

function checkPolicy(
  config: Config,
  policy: string | PolicyConfig | null,
  path: ConfigPath,
): Problem[] {
  if (typeof policy !== "string" || Object.hasOwn(config.policies, policy)) return [];
  return [unknown("policy", policy, Object.keys(config.policies), path)];
}

function checkConsumers(config: Config): Problem[] {
  return config.consumers.flatMap(({ plan }, index) =>
    plan === null || Object.hasOwn(config.plans, plan)
      ? []
      : unknown("plan", plan, Object.keys(config.plans), ["consumers", index, "plan"]),
  );
}

function unknown(what: string, name: string, known: readonly string[], path: ConfigPath): Problem {
  const suggestion = didYouMean(name, known);
  return {
    path,
    at: "value",
    message: `no ${what} is named "${name}"`,
    expected:
      known.length === 0
        ? `a ${what}, but none is configured`
        : `one of ${known.slice(0, 10).join(", ")}`,
    ...(suggestion === null ? {} : { suggestion }),
  };
}
