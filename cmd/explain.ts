/** `weft explain METHOD URL`: from a file, or by a running weft. */

import { explain, formatExplanation, type Explanation } from "../control/explain.ts";
import { formatProblems } from "../control/load.ts";
import { nearest } from "../control/suggest.ts";
import { askAdmin } from "./admin-client.ts";
import type { Arguments } from "./command.ts";
import { fromFile } from "./config-origin.ts";
import { CommandError, exitCodes } from "./exit.ts";
import { usualFile } from "./serve.ts";

export async function explainCommand(args: Arguments): Promise<number> {
  const [typed, url] = args.positionals as [string, string];
  const question = { method: methodOf(typed), url, headers: headersOf(args.values("header")) };
  const address = args.value("admin");
  if (address !== undefined && args.value("config") !== undefined) {
    throw new CommandError(exitCodes.usage, "weft explain: either --config or --admin, not both");
  }
  const answer =
    address === undefined
      ? await explainFile(args.value("config") ?? usualFile(), question)
      : ((await askAdmin(address, "/explain", { method: "POST", json: question })) as Explanation);
  process.stdout.write(
    args.has("json") ? `${JSON.stringify(answer, null, 2)}\n` : `${formatExplanation(answer)}\n`,
  );
  return exitCodes.ok;
}

async function explainFile(
  file: string,
  question: Parameters<typeof explain>[1],
): Promise<Explanation> {
  const loading = await fromFile(file, "check", process.env).load();
  if (!loading.ok) {
    const color = process.stderr.isTTY === true;
    throw new CommandError(exitCodes.input, formatProblems(loading.problems, { color }).trimEnd());
  }
  const { config } = loading.loaded;
  const mode = config.gateway === null && config.mesh !== null ? "mesh" : "gateway";
  const answer = await explain(config, question, { mode });
  if (typeof answer === "string") {
    throw new CommandError(exitCodes.input, `weft explain: ${answer}`);
  }
  return answer;
}

/** Methods that callers use: RFC 9110, RFC 5789 and RFC 10008 (QUERY). */
const usualMethods = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT QUERY".split(" ");

/** Any token is a method (RFC 9110, 9.1), but one that looks like a slip is no answer to what was meant. */
function methodOf(typed: string): string {
  const method = usualMethods.includes(typed.toUpperCase()) ? typed.toUpperCase() : typed;
  if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(method)) {
    const meant = usualMethods.includes(method) ? null : nearest(method, usualMethods);
    if (meant !== null) {
      process.stderr.write(`note: no usual method is ${method}; did you mean ${meant}?\n`);
    }
    return method;
  }
  throw new CommandError(
    exitCodes.usage,
    `weft explain: ${JSON.stringify(typed)} is no method; expected METHOD URL, as in: weft explain GET /orders`,
  );
}

function headersOf(lines: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon < 1) {
      throw new CommandError(exitCodes.usage, `-H ${JSON.stringify(line)}: expected 'name: value'`);
    }
    headers[line.slice(0, colon).trim().toLowerCase()] = line.slice(colon + 1).trim();
  }
  return headers;
}
