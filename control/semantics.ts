/** What is wrong with a configuration as a whole, though each value is right: duplicates, contradictions, missing partners. */

import { isIP } from "node:net";
import type { Config, ConfigPath, Problem } from "./config.ts";

/** Needs nothing but the configuration; references between its parts are checked when it is compiled. */
export function checkWhole(config: Config): Problem[] {
  return [
    ...checkListeners(config),
    ...checkNames(config),
    ...checkServices(config),
    ...checkConsumers(config),
    ...checkAdmin(config),
    ...checkPolicies(config),
    ...checkEnforced(config),
  ];
}

/** What a mode cannot start without. */
export function checkMode(config: Config, mode: "gateway" | "mesh" | "check"): Problem[] {
  const problems: Problem[] = [];
  if (mode === "gateway" && config.gateway === null) {
    problems.push(
      value([], 'there is no "gateway" block', "gateway: { listeners: [{ port: 8080 }] }"),
    );
  }
  if (mode === "mesh" && config.mesh === null)
    problems.push(
      value([], 'there is no "mesh" block', "mesh: { service: ..., app: ..., identity: ... }"),
    );
  if (config.mesh !== null && config.mesh.identity === null) {
    problems.push(
      value(
        ["mesh"],
        '"identity" is missing',
        "identity: { cert, key, bundle }, as `weft cert issue` writes them",
      ),
    );
  }
  if (config.mesh !== null && config.mesh.inbound !== null && config.mesh.app === null) {
    problems.push(
      value(
        ["mesh", "inbound"],
        'there is no "app" to hand inbound requests to',
        "app: 127.0.0.1:3000 beside it",
      ),
    );
  }
  return problems;
}

function checkListeners(config: Config): Problem[] {
  const problems: Problem[] = [];
  const names = new Map<string, number>();
  const places = new Map<number, { readonly host: string | null; readonly index: number }[]>();
  for (const [index, listener] of (config.gateway?.listeners ?? []).entries()) {
    const path: ConfigPath = ["gateway", "listeners", index];
    const same = names.get(listener.name);
    if (same !== undefined)
      problems.push(
        value(
          [...path, "name"],
          `the listener "${listener.name}" is here twice`,
          `another name than gateway.listeners[${same}]`,
        ),
      );
    else names.set(listener.name, index);
    if (listener.port === 0) continue;
    const others = places.get(listener.port) ?? [];
    const clash = others.find((other) => overlaps(other.host, listener.host));
    if (clash !== undefined)
      problems.push(
        value(
          [...path, "port"],
          `port ${listener.port} is taken by gateway.listeners[${clash.index}]`,
          "another port, or another host",
        ),
      );
    places.set(listener.port, [...others, { host: listener.host, index }]);
  }
  return problems;
}

/** Two hosts on one port: the same one, or one of them is every address of that family. */
function overlaps(a: string | null, b: string | null): boolean {
  const every = (host: string | null): boolean =>
    host === null || host === "::" || host === "0.0.0.0";
  return every(a) || every(b) || a === b;
}

function checkNames(config: Config): Problem[] {
  const problems: Problem[] = [];
  problems.push(
    ...twice(
      config.routes.map((route) => route.name),
      (index) => ["routes", index, "name"],
      "route",
    ),
  );
  problems.push(
    ...twice(
      config.consumers.map((consumer) => consumer.name),
      (index) => ["consumers", index, "name"],
      "consumer",
    ),
  );
  const folded = new Map<string, string>();
  for (const service of Object.keys(config.services)) {
    const other = folded.get(service.toLowerCase());
    if (other !== undefined)
      problems.push({
        path: ["services", service],
        at: "key",
        message: `differs from "${other}" only in case`,
        expected: "names that differ in more: they are hosts in a mesh",
      });
    folded.set(service.toLowerCase(), service);
  }
  return problems;
}

function twice(
  names: readonly string[],
  path: (index: number) => ConfigPath,
  what: string,
): Problem[] {
  const first = new Map<string, number>();
  const problems: Problem[] = [];
  for (const [index, name] of names.entries()) {
    const same = first.get(name);
    if (same === undefined) first.set(name, index);
    else
      problems.push(
        value(
          path(index),
          `the ${what} "${name}" is here twice`,
          `another name than ${what}s[${same}]`,
        ),
      );
  }
  return problems;
}

function checkServices(config: Config): Problem[] {
  const problems: Problem[] = [];
  for (const [name, service] of Object.entries(config.services)) {
    const seen = new Set<string>();
    for (const [index, endpoint] of service.endpoints.entries()) {
      const key = `${endpoint.host.toLowerCase()}:${endpoint.port}`;
      if (seen.has(key))
        problems.push(
          value(
            ["services", name, "endpoints", index],
            `the endpoint ${endpoint.address} is here twice`,
            "each address once; give it a weight instead",
          ),
        );
      seen.add(key);
    }
    if (
      service.endpoints.length > 0 &&
      service.endpoints.every((endpoint) => endpoint.weight === 0)
    ) {
      problems.push(
        value(["services", name, "endpoints"], "every weight is 0", "at least one above 0"),
      );
    }
    if (service.mtls === true && config.mesh === null) {
      problems.push(
        value(
          ["services", name, "mtls"],
          'mTLS needs an identity, and there is no "mesh" block',
          "mesh: { service, identity: { cert, key, bundle } }",
        ),
      );
    }
  }
  return problems;
}

function checkConsumers(config: Config): Problem[] {
  const owners = new Map<string, string>();
  const problems: Problem[] = [];
  for (const [index, consumer] of config.consumers.entries()) {
    for (const [at, key] of consumer.keys.entries()) {
      const owner = owners.get(key);
      if (owner !== undefined)
        problems.push(
          value(
            ["consumers", index, "keys", at],
            `this key is also one of "${owner}"`,
            "each key for one consumer, once",
          ),
        );
      else owners.set(key, consumer.name);
    }
  }
  return problems;
}

function checkAdmin(config: Config): Problem[] {
  const { host, token } = config.admin;
  if (token !== null || isLoopback(host)) return [];
  return [
    value(
      ["admin", "address"],
      `the admin API on ${host} would be open to others`,
      'a "token" beside it, or an address on loopback such as 127.0.0.1:9901',
    ),
  ];
}

function isLoopback(host: string): boolean {
  if (host === "localhost" || host === "::1") return true;
  return isIP(host) === 4 && host.startsWith("127.");
}

function checkPolicies(config: Config): Problem[] {
  const problems: Problem[] = [];
  const check = (policy: Config["policies"][string], path: ConfigPath): void => {
    const { backoff } = policy.retry ?? {};
    if (
      backoff?.baseMs !== undefined &&
      backoff.maxMs !== undefined &&
      backoff.baseMs > backoff.maxMs
    ) {
      problems.push(
        value(
          [...path, "retry", "backoff", "base"],
          'is longer than "max"',
          `at most ${backoff.maxMs} ms`,
        ),
      );
    }
    const { baseMs, maxMs } = policy.ejection ?? {};
    if (baseMs !== undefined && maxMs !== undefined && baseMs > maxMs)
      problems.push(
        value([...path, "ejection", "base"], 'is longer than "max"', `at most ${maxMs} ms`),
      );
  };
  for (const [name, policy] of Object.entries(config.policies)) check(policy, ["policies", name]);
  for (const [name, service] of Object.entries(config.services))
    if (typeof service.policy === "object" && service.policy !== null)
      check(service.policy, ["services", name, "policy"]);
  for (const [index, route] of config.routes.entries())
    if (typeof route.policy === "object" && route.policy !== null)
      check(route.policy, ["routes", index, "policy"]);
  return problems;
}

function checkEnforced(config: Config): Problem[] {
  const problems: Problem[] = [];
  for (const route of config.routes) {
    for (const plugin of route.plugins) {
      if (plugin.enforced)
        problems.push(
          value(
            [...plugin.path, "enforced"],
            "means nothing on a route",
            '"enforced" on the global list `plugins`',
          ),
        );
    }
  }
  for (const plugin of config.plugins) {
    if (plugin.enforced && !plugin.enabled)
      problems.push(
        value([...plugin.path, "enabled"], "an enforced plugin cannot be off", "one of them"),
      );
  }
  return problems;
}

function value(path: ConfigPath, message: string, expected: string): Problem {
  return { path, at: "value", message, expected };
}
