/** `weft import openapi FILE`: a whole configuration from a document, a route per path and method. */

import { readFile } from "node:fs/promises";
import { stringify } from "yaml";
import { readOpenApi, type OpenApi, type Operation } from "../plugins/openapi.ts";
import { pathOf } from "../plugins/validate-openapi.ts";
import type { Arguments } from "./command.ts";
import { CommandError, exitCodes } from "./exit.ts";

export async function importOpenApi(args: Arguments): Promise<number> {
  const file = args.positionals[0]!;
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new CommandError(exitCodes.input, `${file}: cannot be read (${error.code})`);
  });
  let document: OpenApi;
  try {
    document = readOpenApi(text);
  } catch (error) {
    throw new CommandError(exitCodes.input, `${file}: ${(error as Error).message}`);
  }
  if (document.operations.length === 0)
    throw new CommandError(exitCodes.input, `${file}: it describes no operation`);
  process.stdout.write(toConfig(document, file));
  return exitCodes.ok;
}

/** The configuration as YAML. @param file as it is to be named in it */
export function toConfig(document: OpenApi, file: string): string {
  const services = new Services(document);
  const names = new Set<string>();
  const routes = document.operations.map((operation) => ({
    name: unique(names, operation.id ?? `${operation.method} ${operation.path}`),
    match: { path: pathMatch(operation), methods: [operation.method] },
    to: services.nameOf(operation.servers[0]!),
    plugins: [{ validate: { openapi: file } }],
  }));
  const config = {
    gateway: { listeners: [{ name: "web", port: 8080 }] },
    services: services.all,
    routes,
  };
  const note = services.isAddressMissing
    ? "# The document names no server: put the address of the service below.\n"
    : "";
  const title = (document.title === "" ? file : document.title).replace(/\s+/g, " ");
  return `# From ${title}\n${note}${stringify(config, { lineWidth: 0, aliasDuplicateObjects: false })}`;
}

/** A service per server URL; those that differ in their path only are one. */
class Services {
  readonly all: Record<string, { endpoints: string[]; tls?: { serverName?: string } }> = {};
  isAddressMissing = false;
  private readonly names = new Map<string, string>();

  constructor(document: OpenApi) {
    for (const url of document.servers) this.nameOf(url);
    for (const { servers } of document.operations) for (const url of servers) this.nameOf(url);
  }

  nameOf(server: string): string {
    const url = URL.parse(server);
    const isHttp = url?.protocol === "http:" || url?.protocol === "https:";
    const key = isHttp ? url.origin : "";
    let name = this.names.get(key);
    if (name !== undefined) return name;
    name = unique(new Set(Object.keys(this.all)), isHttp ? url.hostname : "api");
    this.names.set(key, name);
    if (!isHttp) {
      this.isAddressMissing = true;
      this.all[name] = { endpoints: [] };
    } else {
      const isTls = url.protocol === "https:";
      const port = url.port === "" ? (isTls ? "443" : "80") : url.port;
      this.all[name] = { endpoints: [`${url.hostname}:${port}`], ...(isTls ? { tls: {} } : {}) };
    }
    return name;
  }
}

/** What of the path a route can say: exact, a template, or a regular expression for elements that mix text and names. */
function pathMatch({ path, servers }: Operation): object {
  const whole = `${pathOf(servers[0]!)}${path}`;
  if (!/[{}]/.test(whole)) return { exact: whole };
  const elements = whole.split("/");
  if (elements.every((element) => !/[{}]/.test(element) || /^\{[^{}]+\}$/.test(element))) {
    const seen = new Set<string>();
    return {
      template: elements
        .map((element) =>
          element.startsWith("{")
            ? `{${unique(seen, element.slice(1, -1).replace(/\W/g, "_").replace(/^\d/, "_$&"), "_")}}`
            : element,
        )
        .join("/"),
    };
  }
  const source = elements.map((element) =>
    element
      .split(/\{[^}]+\}/)
      .map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
      .join("[^/]+"),
  );
  return { regex: `^${source.join("/")}$` };
}

/** A name that can stand in a configuration and is not there yet. */
function unique(taken: Set<string>, wanted: string, joint = "-"): string {
  const plain = wanted.replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[-.]+|[-.]+$/g, "") || "api";
  let name = plain.slice(0, 60);
  for (let i = 2; taken.has(name); i++) name = `${plain.slice(0, 60)}${joint}${i}`;
  taken.add(name);
  return name;
}
