/** Turns one route of a configuration into the route that an exchange follows. */

import type { Config, ConfigPath, Problem, RouteConfig } from "../config.ts";
import { fieldsFrom } from "../../proxy/http/fields.ts";
import type { Chain } from "../../proxy/pipeline/chain.ts";
import type { Mode } from "../../proxy/pipeline/plugin.ts";
import type { Service } from "../../proxy/service/service.ts";
import type { App, Choice, Route, Target } from "../../proxy/snapshot.ts";
import { importModule } from "./modules.ts";
import { effectivePolicy, policyFor } from "./policy.ts";
import { reasonOf } from "./problems.ts";
import { createWeightedChoice } from "./weighted.ts";

/** What routes are made from, besides their configuration. */
export interface RouteParts {
  readonly config: Config;
  readonly mode: Mode;
  readonly service: (name: string) => Service | undefined;
  readonly problems: Problem[];
}

/** Null when something is wrong with it, which is then among the problems. */
export async function compileRoute(
  route: RouteConfig,
  chain: Chain | null,
  parts: RouteParts,
): Promise<Route | null> {
  const index = parts.config.routes.indexOf(route);
  const at: ConfigPath = index === -1 ? [] : ["routes", index];
  const target = await compileTarget(route, parts, at);
  if (target === null) return null;
  return {
    name: route.name,
    target,
    chain,
    rewrite: route.rewrite,
    connects: route.match.some(({ methods }) => methods?.includes("CONNECT") === true),
    policy: effectivePolicy(policyFor(parts.config, null, route.policy), parts.mode),
  };
}

async function compileTarget(
  route: RouteConfig,
  parts: RouteParts,
  at: ConfigPath,
): Promise<Target | null> {
  if (route.redirect !== null) return { kind: "redirect", redirect: route.redirect };
  if (route.respond !== null) {
    const { status, body, headers } = route.respond;
    const pairs = Object.entries(headers);
    if (body !== "" && !pairs.some(([name]) => name.toLowerCase() === "content-type")) {
      pairs.push(["content-type", "text/plain; charset=utf-8"]);
    }
    try {
      return { kind: "respond", status, body, headers: fieldsFrom(pairs) };
    } catch (error) {
      const path = [...at, "respond", "headers"];
      parts.problems.push({ path, at: "value", message: reasonOf(error) });
      return null;
    }
  }
  if (route.app !== null) {
    const app = await loadApp(route.app, parts.config.baseDir);
    if (typeof app !== "string") return { kind: "app", app };
    parts.problems.push(appProblem(app, at));
    return null;
  }
  return compileChoices(route, parts);
}

function compileChoices(route: RouteConfig, parts: RouteParts): Target | null {
  const weighted = [];
  for (const { service: name, weight } of route.to ?? []) {
    const service = parts.service(name);
    // unknown names are reported with their suggestion by checkReferences
    if (service === undefined) return null;
    const policy = effectivePolicy(policyFor(parts.config, name, route.policy), parts.mode);
    const choice: Choice = { service, policy };
    weighted.push({ choice, weight });
  }
  return { kind: "service", choices: createWeightedChoice(weighted) };
}

/** Apps that cannot be loaded, or are none. */
export async function checkApps(config: Config): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const [index, { app: use }] of config.routes.entries()) {
    const app = use === null ? null : await loadApp(use, config.baseDir);
    if (typeof app === "string") problems.push(appProblem(app, ["routes", index]));
  }
  return problems;
}

function appProblem(message: string, at: ConfigPath): Problem {
  return {
    path: [...at, "app"],
    at: "value",
    message,
    expected: "a module whose default export is a Hono app, or anything with fetch()",
  };
}

/** The app, or what is wrong with it. */
async function loadApp(use: string, baseDir: string): Promise<App | string> {
  let loaded: Readonly<Record<string, unknown>>;
  try {
    loaded = await importModule(use, baseDir);
  } catch (error) {
    return `the app ${use} cannot be loaded: ${reasonOf(error)}`;
  }
  const app = loaded["default"];
  if ((typeof app === "object" || typeof app === "function") && app !== null) {
    if (typeof (app as { fetch?: unknown }).fetch === "function") return app as App;
  }
  return `the app ${use} has no default export with fetch()`;
}
