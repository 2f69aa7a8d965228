/** The one table of commands: what `weft help` shows and what `weft COMMAND` runs. */

import { certCommands } from "./cert.ts";
import type { Command, OptionSpec } from "./command.ts";

const config: OptionSpec = {
  short: "c",
  value: "FILE",
  help: "configuration: YAML, JSON, or a .ts file",
  default: "weft.yaml",
};
const workers: OptionSpec = {
  value: "N",
  help: "worker threads, over what the configuration says",
};
const logLevel: OptionSpec = {
  value: "LEVEL",
  help: "how much is logged on stderr",
  choices: ["trace", "debug", "info", "warn", "error", "fatal", "silent"],
  default: "info",
};
const json: OptionSpec = { help: "for machines" };
const admin: OptionSpec = {
  value: "HOST:PORT",
  help: "admin API of a running weft; the token comes from WEFT_ADMIN_TOKEN",
  default: "127.0.0.1:9901",
};

const signals =
  "SIGTERM and SIGINT drain: not ready, no new connections, running exchanges finish, at most\n" +
  "drainTimeout; a second signal ends at once with exit code 1. SIGHUP reloads the configuration,\n" +
  "which also happens when its file, a certificate or a plugin changes. SIGUSR2 hands the\n" +
  "sockets to a new process, and this one drains.";

export const commands: readonly Command[] = [
  {
    name: "gateway",
    summary: "serve as the edge gateway",
    options: { config, workers, "log-level": logLevel },
    about: signals,
    examples: ["weft gateway -c weft.yaml", "weft gateway --workers 4 --log-level debug"],
    run: async (args) => (await import("./serve.ts")).serveCommand("gateway", args),
  },
  {
    name: "mesh",
    summary: "serve as the sidecar of one service",
    takesRest: true,
    options: { config, workers, "log-level": logLevel },
    about: `With a command after "--": starts it once the sidecar is ready, passes signals on, and exits\nwith its code.\n\n${signals}`,
    examples: ["weft mesh -c orders.yaml", "weft mesh -c orders.yaml -- node orders.js"],
    run: async (args) => (await import("./serve.ts")).serveCommand("mesh", args),
  },
  {
    name: "dev",
    summary: "a gateway in front of a URL, with a key and a limit, with no config",
    options: {
      to: { value: "URL", help: "the service, e.g. http://127.0.0.1:3000" },
      port: { value: "PORT", help: "port on 127.0.0.1", default: "8080" },
      key: { value: "KEY", help: "the API key that opens it", default: "a random one" },
      limit: { value: "RATE", help: "requests per key", default: "10/min" },
    },
    about: "Prints three curl commands, which answer 200, 401 and 429.",
    examples: [
      "weft dev --to http://127.0.0.1:3000",
      "weft dev --to https://api.example.com --limit 100/min",
    ],
    run: async (args) => (await import("./dev.ts")).dev(args),
  },
  {
    name: "demo",
    summary: "gateway, meshed sample services and dashboard, on this machine",
    options: {
      port: { value: "PORT", help: "the gateway's port on 127.0.0.1", default: "8080" },
      "admin-port": { value: "PORT", help: "admin API and dashboard", default: "9901" },
    },
    examples: ["weft demo", "weft demo --port 9080 --admin-port 9081"],
    run: async (args) => (await import("./demo.ts")).demo(args),
  },
  {
    name: "check",
    summary: "say what is wrong with a configuration, and where",
    positionals: "[FILE]",
    arity: [0, 1],
    options: { config, json },
    about: "Exit code 0: it can be served; 1: it cannot, and the problems are on stderr.",
    examples: ["weft check -c weft.yaml"],
    run: async (args) => (await import("./check.ts")).check(args),
  },
  {
    name: "explain",
    summary: "which route takes a request, why the others do not, and what happens to it",
    positionals: "METHOD URL",
    arity: [2, 2],
    options: {
      header: { short: "H", value: "'NAME: VALUE'", multiple: true, help: "a request header" },
      config,
      admin: { ...admin, help: "ask a running weft instead of reading a file" },
      json,
    },
    examples: [
      "weft explain GET http://api.example.com/orders/7",
      "weft explain POST /orders -H 'host: api.example.com' --admin 127.0.0.1:9901",
    ],
    run: async (args) => (await import("./explain.ts")).explainCommand(args),
  },
  {
    name: "routes",
    summary: "the routes of a running weft",
    options: { admin, json },
    run: async (args) => (await import("./admin-commands.ts")).routes(args),
  },
  {
    name: "services",
    summary: "the services of a running weft, with the state of every endpoint",
    options: { admin, json },
    run: async (args) => (await import("./admin-commands.ts")).services(args),
  },
  {
    name: "limits top",
    summary: "who is over a limit of a running weft, which, and until when",
    options: { admin, json },
    run: async (args) => (await import("./admin-commands.ts")).limitsTop(args),
  },
  {
    name: "config",
    summary: "the configuration in effect, without its secrets",
    options: { admin, json },
    run: async (args) => (await import("./admin-commands.ts")).config(args),
  },
  ...certCommands,
  {
    name: "key create",
    summary: "make an API key, and the line that configures it",
    options: {
      consumer: { value: "NAME", help: "who the key stands for" },
      prefix: { value: "WORD", help: "what the key begins with", default: "weft" },
      json,
    },
    examples: ["weft key create --consumer acme"],
    run: async (args) => (await import("./key.ts")).keyCreate(args),
  },
  {
    name: "import openapi",
    summary: "a configuration from an OpenAPI document, with validation on every route",
    positionals: "FILE",
    arity: [1, 1],
    options: {},
    about:
      "Prints a service per server URL and a route per path and method. The document (3.0 or 3.1, YAML or\nJSON) is named as given: keep it beside the configuration.",
    examples: ["weft import openapi petstore.yaml > weft.yaml"],
    run: async (args) => (await import("./import-openapi.ts")).importOpenApi(args),
  },
  {
    name: "schema",
    summary: "print the JSON Schema of the configuration",
    options: {},
    examples: ["weft schema > weft.schema.json"],
    run: async () => {
      const { jsonSchema } = await import("../control/json-schema.ts");
      process.stdout.write(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
      return 0;
    },
  },
  {
    name: "version",
    summary: "print the version of weft, and of the Node that runs it",
    options: { json },
    run: async (args) => {
      const { version } = await import("./version.ts");
      const node = process.versions.node;
      const text = args.has("json")
        ? JSON.stringify({ version, node })
        : `weft ${version} (node ${node})`;
      process.stdout.write(`${text}\n`);
      return 0;
    },
  },
  {
    name: "help",
    summary: "show this, or explain a command",
    positionals: "[COMMAND]",
    arity: [0, 2],
    options: {},
    run: async (args) => {
      const { showHelp } = await import("./run-command.ts");
      return showHelp(args.positionals);
    },
  },
];

/** Commands of the contract that no release has yet. */
export const futureCommands: readonly string[] = [
  "control",
  "plan",
  "top",
  "tap",
  "plugin",
  "token",
  "apply",
];
