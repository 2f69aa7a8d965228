/** `weft routes | services | limits top | config | explain`: what a running weft does, and what it would do. */

import { stringify } from "yaml";
import type { LimitView, RouteView, ServiceView } from "../control/admin/describe.ts";
import { matchesInWords, targetInWords } from "../control/admin/summary.ts";
import { askAdmin, defaultAdmin } from "./admin-client.ts";
import type { Arguments } from "./command.ts";
import { exitCodes } from "./exit.ts";
import { textTable } from "./text-table.ts";

const addressOf = (args: Arguments): string => args.value("admin") ?? defaultAdmin;

/** `weft routes`: name, what it takes, where it leads, its plugins. */
export async function routes(args: Arguments): Promise<number> {
  const views = (await askAdmin(addressOf(args), "/routes")) as readonly RouteView[];
  const columns = [{ title: "route" }, { title: "takes" }, { title: "to" }, { title: "plugins" }];
  const rows = views.map((view) => [
    view.name,
    matchesInWords(view).join("\n"),
    targetInWords(view),
    view.plugins.join(", "),
  ]);
  return print(args, views, () => (rows.length === 0 ? "no routes\n" : textTable(columns, rows)));
}

/** `weft services`: every endpoint with its state. */
export async function services(args: Arguments): Promise<number> {
  const views = (await askAdmin(addressOf(args), "/services")) as readonly ServiceView[];
  const columns = [
    { title: "service" },
    { title: "endpoint" },
    { title: "state" },
    { title: "security" },
  ];
  const rows = views.flatMap((view) => {
    const security = view.security === "mtls" ? "mTLS" : view.security === "tls" ? "TLS" : "none";
    if (view.endpoints.length === 0) return [[view.name, "-", "no endpoints", security]];
    return view.endpoints.map((endpoint, i) => {
      const until = endpoint.ejectedUntil === null ? "" : ` until ${endpoint.ejectedUntil}`;
      return [
        i === 0 ? view.name : "",
        endpoint.address,
        `${endpoint.state}${until}`,
        i === 0 ? security : "",
      ];
    });
  });
  return print(args, views, () => (rows.length === 0 ? "no services\n" : textTable(columns, rows)));
}

/** `weft limits top`: who is refused now or was lately, by which limit, until when. */
export async function limitsTop(args: Arguments): Promise<number> {
  const views = (await askAdmin(addressOf(args), "/limits")) as readonly LimitView[];
  const all = views
    .flatMap(({ callers, route, name, limit, shadow }) =>
      callers.map((one) => ({ ...one, route, name, limit, shadow })),
    )
    .toSorted((a, b) => b.times - a.times);
  const titles = ["caller", "limit", "route", "until", "refused"];
  const rows = all.map(({ caller, route, name, limit, shadow, until, times }) => [
    caller,
    `${name} (${String(limit)}${shadow === true ? ", shadow" : ""})`,
    route ?? "",
    Date.parse(until) > Date.now() ? until : "over",
    String(times),
  ]);
  return print(args, all, () =>
    rows.length === 0
      ? "nobody is over a limit\n"
      : textTable(
          titles.map((title) => ({ title })),
          rows,
        ),
  );
}

/** `weft config`: the configuration in effect, without its secrets. */
export async function config(args: Arguments): Promise<number> {
  const answer = (await askAdmin(addressOf(args), "/config")) as {
    readonly version: number;
    readonly origin: string;
    readonly appliedAt: string;
    readonly config: unknown;
  };
  return print(
    args,
    answer,
    () =>
      `# version ${answer.version}, from ${answer.origin}, in effect since ${answer.appliedAt}\n${stringify(answer.config)}`,
  );
}

function print(args: Arguments, value: unknown, inWords: () => string): number {
  process.stdout.write(args.has("json") ? `${JSON.stringify(value, null, 2)}\n` : inWords());
  return exitCodes.ok;
}
