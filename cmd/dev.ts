/** `weft dev --to URL`: a gateway with an API key and a rate limit in front of a service, with no configuration. */

import net from "node:net";
import { parseRate } from "../control/units.ts";
import { wholeNumber } from "./args.ts";
import type { Arguments } from "./command.ts";
import { fromValue } from "./config-origin.ts";
import { CommandError, exitCodes } from "./exit.ts";
import { createKey, keyHash } from "./key.ts";
import { serve } from "./serve.ts";

export function dev(args: Arguments): Promise<never> {
  const to = upstreamUrl(args.value("to"));
  const port = wholeNumber(args, "port", [0, 65_535]) ?? 8080;
  const key = args.value("key") ?? createKey("dev");
  if (!/^[\x21-\x7e]+$/.test(key)) throw wrong("--key: expected printable characters, no spaces");
  const limit = args.value("limit") ?? "10/min";
  const rate = parseRate(limit);
  if (rate === null) throw wrong(`--limit ${limit}: expected a rate such as 10/min`);
  return serve({
    mode: "gateway",
    origin: fromValue("weft dev", devConfig({ to, port, key, limit }), "gateway"),
    logLevel: "warn",
    workers: null,
    command: null,
    onReady: ({ plan }) => {
      const [listener] = plan.states(true);
      const base = `http://${listener!.address}`;
      process.stdout.write(introduction({ base, to, key, limit, count: rate.limit }));
    },
  });
}

interface DevSetting {
  readonly to: URL;
  readonly port: number;
  readonly key: string;
  readonly limit: string;
}

/** The configuration that a user would have written. */
export function devConfig({ to, port, key, limit }: DevSetting): object {
  const isSecure = to.protocol === "https:";
  const name = to.hostname.replace(/^\[|\]$/g, "");
  const prefix = to.pathname.replace(/\/$/, "");
  // a public service answers to its own name only; one on this machine hardly cares
  const rewrite = {
    ...(net.isIP(name) === 0 && name !== "localhost" ? { host: name } : {}),
    ...(prefix === "" ? {} : { prefix }),
  };
  return {
    gateway: { listeners: [{ name: "dev", host: "127.0.0.1", port }] },
    services: {
      app: {
        endpoints: [`${to.hostname}:${to.port || (isSecure ? 443 : 80)}`],
        ...(isSecure ? { tls: { serverName: name } } : {}),
      },
    },
    consumers: [{ name: "dev", keys: [keyHash(key)] }],
    routes: [
      {
        name: "dev",
        to: "app",
        ...(Object.keys(rewrite).length === 0 ? {} : { rewrite }),
        plugins: ["api-key", { "rate-limit": { limit, by: "consumer" } }],
      },
    ],
    drainTimeout: "3s",
    workers: 1,
  };
}

function introduction(setting: {
  readonly base: string;
  readonly to: URL;
  readonly key: string;
  readonly limit: string;
  readonly count: number;
}): string {
  const { base, to, key, limit, count } = setting;
  const curl = "curl -s -o /dev/null -w '%{http_code}\\n'";
  const withKey = `-H 'x-api-key: ${key.replaceAll("'", "'\\''")}'`;
  // some of the allowance comes back while the requests are under way
  const enough = count + Math.ceil(count / 5) + 1;
  return [
    `weft stands at ${base} in front of ${to.href}, ${limit} per key`,
    "",
    "200, with the key (it is the service's own answer):",
    `  ${curl} ${withKey} '${base}/'`,
    "401, without:",
    `  ${curl} '${base}/'`,
    "429, once the limit is used up:",
    `  curl -s -o /dev/null ${withKey} '${base}/?[1-${enough}]' --next ${curl.slice(5)} ${withKey} '${base}/'`,
    "",
    "Ctrl-C ends it. Its configuration, to go on from: weft config",
    "",
  ].join("\n");
}

function upstreamUrl(text: string | undefined): URL {
  if (text === undefined) throw wrong("--to URL is missing");
  const url = URL.parse(/^[a-z]+:\/\//.test(text) ? text : `http://${text}`);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw wrong(`--to ${text}: expected a URL such as http://127.0.0.1:3000`);
  }
  return url;
}

function wrong(message: string): CommandError {
  return new CommandError(exitCodes.usage, `weft dev: ${message}\nSee: weft dev --help`);
}
