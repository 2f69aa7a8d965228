/** Whether the files that a configuration names are there and readable, so that `check` says it and not a start at night. */

import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { isAbsolute } from "node:path";
import type { Config, ConfigPath, Problem } from "../config.ts";

/** Certificates, keys, authorities, apps and plugin files. */
export function filesOf(
  config: Config,
): { readonly path: ConfigPath; readonly file: string; readonly kind: "certificate" | "module" }[] {
  const files: { path: ConfigPath; file: string; kind: "certificate" | "module" }[] = [];
  const certificate = (path: ConfigPath, file: string) =>
    files.push({ path, file, kind: "certificate" });
  const plugins = (list: Config["plugins"]) => {
    for (const plugin of list)
      if (isAbsolute(plugin.use))
        files.push({ path: plugin.optionsPath ?? plugin.path, file: plugin.use, kind: "module" });
  };
  for (const [index, listener] of (config.gateway?.listeners ?? []).entries()) {
    const path: ConfigPath = ["gateway", "listeners", index, "tls"];
    for (const [at, pair] of (listener.tls?.certificates ?? []).entries()) {
      certificate([...path, "certificates", at, "cert"], pair.cert);
      certificate([...path, "certificates", at, "key"], pair.key);
    }
    if (listener.tls?.clientAuth)
      certificate([...path, "clientAuth", "ca"], listener.tls.clientAuth.ca);
  }
  for (const [name, service] of Object.entries(config.services)) {
    if (service.tls !== null && service.tls.ca !== null)
      certificate(["services", name, "tls", "ca"], service.tls.ca);
  }
  for (const key of ["cert", "key", "bundle"] as const) {
    const file = config.mesh?.identity?.[key];
    if (file !== undefined) certificate(["mesh", "identity", key], file);
  }
  plugins(config.plugins);
  for (const [index, route] of config.routes.entries()) {
    if (route.app !== null && isAbsolute(route.app))
      files.push({ path: ["routes", index, "app"], file: route.app, kind: "module" });
    plugins(route.plugins);
  }
  return files;
}

/** One problem a place; a file that many routes name is looked at once. */
export async function checkFiles(config: Config): Promise<Problem[]> {
  const known = new Map<string, Promise<string | null>>();
  const problems: Problem[] = [];
  for (const { path, file, kind } of filesOf(config)) {
    let fault = known.get(file);
    if (fault === undefined) {
      fault = faultOf(file);
      known.set(file, fault);
    }
    const message = await fault;
    // A plugin file is named by a key when it has options.
    const at =
      kind === "module" && path.at(-1) !== "app" && typeof path.at(-1) === "string"
        ? "key"
        : "value";
    if (message !== null)
      problems.push({
        path,
        at,
        message,
        expected: "a readable file; relative paths start at the folder of the configuration",
      });
  }
  return problems;
}

async function faultOf(file: string): Promise<string | null> {
  try {
    await access(file, constants.R_OK);
    return null;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return `${file} does not exist`;
    return `${file} may not be read${code === undefined ? "" : ` (${code})`}`;
  }
}
