/** What is wrong with a configuration as a whole, though each value is right: duplicates, contradictions, missing partners. */

import { isIP } from "node:net";
import type { Config, ConfigPath, Problem } from "../config.ts";

/** Needs nothing but the configuration; references between its parts are checked when it is compiled. */
export function checkWhole(config: Config): Problem[] {
  return [
    ...checkListeners(config),
    ...checkSockets(config),
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
  for (const [index, { name }] of (config.gateway?.listeners ?? []).entries()) {
    const same = names.get(name);
    if (same === undefined) names.set(name, index);
    else
      problems.push(
        value(
          ["gateway", "listeners", index, "name"],
          `the listener "${name}" is here twice`,
          `another name than gateway.listeners[${same}]`,
        ),
      );
  }
  return problems;
}

interface Socket {
  readonly host: string | null;
  readonly port: number;
  readonly path: ConfigPath;
  readonly name: string;
}

/** Everything that this process listens on, in the order in which it is named to people. */
function socketsOf(config: Config): Socket[] {
  const sockets: Socket[] = [];
  for (const [index, { host, port }] of (config.gateway?.listeners ?? []).entries()) {
    const name = `gateway.listeners[${index}]`;
    sockets.push({ host, port, path: ["gateway", "listeners", index, "port"], name });
  }
  for (const key of ["outbound", "inbound"] as const) {
    const address = config.mesh?.[key] ?? null;
    if (address !== null) sockets.push({ ...address, path: ["mesh", key], name: `mesh.${key}` });
  }
  const { host, port, explicit } = config.admin;
  const name = explicit === true ? "admin.address" : "the admin API";
  sockets.push({ host, port, path: ["admin", "address"], name });
  return sockets;
}

/** Port 0 is another one each time. */
function checkSockets(config: Config): Problem[] {
  const problems: Problem[] = [];
  const taken = new Map<number, Socket[]>();
  for (const socket of socketsOf(config)) {
    if (socket.port === 0) continue;
    const others = taken.get(socket.port) ?? [];
    const clash = others.find((other) => overlaps(other.host, socket.host));
    // The default address of the admin API is nowhere in the file: the other one is pointed at.
    const isDefault = socket.name === "the admin API";
    const [at, by] = isDefault && clash !== undefined ? [clash, socket] : [socket, clash];
    if (by !== undefined)
      problems.push(
        value(at.path, `port ${at.port} is taken by ${by.name}`, "another port, or another host"),
      );
    taken.set(socket.port, [...others, socket]);
  }
  const app = config.mesh?.app ?? null;
  for (const key of ["outbound", "inbound"] as const) {
    const own = config.mesh?.[key] ?? null;
    if (app === null || own === null || app.port !== own.port) continue;
    const isHere = app.host === own.host || (isLoopback(app.host) && overlaps(app.host, own.host));
    if (!isHere) continue;
    const message = `is mesh.${key} itself: a request would go round in circles`;
    problems.push(value(["mesh", "app"], message, "the address of the app"));
  }
  return problems;
}

/** Two hosts on one port: the same one, or one of them is every address. */
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
