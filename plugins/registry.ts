/** The one list of built-in plugins: name -> lazy import, so that a configuration loads only what it uses. */

import type { AnyPlugin } from "../proxy/pipeline/plugin.ts";

type Load = () => Promise<{ readonly default: AnyPlugin }>;

const builtIns: Readonly<Record<string, Load>> = {
  "request-id": () => import("./request-id.ts"),
  "access-log": () => import("./access-log.ts"),
  cors: () => import("./cors.ts"),
  "ip-filter": () => import("./ip-filter.ts"),
  "security-headers": () => import("./security-headers.ts"),
  csrf: () => import("./csrf.ts"),
  bot: () => import("./bot.ts"),
  "body-limit": () => import("./body-limit.ts"),
  compress: () => import("./compress.ts"),
  jwt: () => import("./jwt.ts"),
  "api-key": () => import("./api-key.ts"),
  "basic-auth": () => import("./basic-auth.ts"),
  mtls: () => import("./mtls.ts"),
  "http-signature": () => import("./http-signature.ts"),
  oidc: () => import("./oidc.ts"),
  acl: () => import("./acl.ts"),
  "ext-authz": () => import("./ext-authz.ts"),
  cel: () => import("./cel.ts"),
  "rate-limit": () => import("./rate-limit.ts"),
  quota: () => import("./quota.ts"),
  concurrency: () => import("./concurrency.ts"),
  cache: () => import("./cache.ts"),
  validate: () => import("./validate.ts"),
  headers: () => import("./headers.ts"),
};

/** Names of the built-in plugins. */
export const builtInNames: readonly string[] = Object.keys(builtIns);

/** Names that are promised and not built yet: a configuration that uses one is told so. */
export const futureNames: readonly string[] = [];

/** The definition of a built-in; null: no such name. */
export async function loadBuiltIn(name: string): Promise<AnyPlugin | null> {
  const load = Object.hasOwn(builtIns, name) ? builtIns[name] : undefined;
  return load === undefined ? null : (await load()).default;
}
