/** `weft check`: everything that is wrong with a configuration, in its place. */

import { randomBytes } from "node:crypto";
import { checkConfig, ConfigProblems } from "../control/compile.ts";
import type { Config, Problem } from "../control/config.ts";
import { formatProblems } from "../control/load.ts";
import type { Arguments } from "./command.ts";
import { fromFile, type Loading } from "./config-origin.ts";
import { exitCodes } from "./exit.ts";
import { usualFile } from "./serve.ts";
import { WorkerIdentity } from "./worker-identity.ts";
import { WorkerTls } from "./worker-tls.ts";

export async function check(args: Arguments): Promise<number> {
  const file = args.value("config") ?? args.positionals[0] ?? usualFile();
  const problems = await problemsOf(await fromFile(file, "check", process.env).load());
  if (args.has("json")) {
    process.stdout.write(`${JSON.stringify({ ok: problems.length === 0, problems }, null, 2)}\n`);
  } else if (problems.length === 0) process.stdout.write(`${file}: fine\n`);
  else {
    const color = process.stderr.isTTY === true;
    process.stderr.write(`${formatProblems(problems, { color }).trimEnd()}\n`);
  }
  return problems.length === 0 ? exitCodes.ok : exitCodes.input;
}

async function problemsOf(loading: Loading) {
  if (!loading.ok) return loading.problems;
  const { loaded } = loading;
  const { config } = loaded;
  const mode = config.gateway === null && config.mesh !== null ? "mesh" : "gateway";
  return loaded.locate([
    ...(await checkConfig(config, mode)),
    ...(await checkCertificates(config)),
  ]);
}

/** Certificates, keys and authorities that are there and cannot be used. */
async function checkCertificates(config: Config): Promise<readonly Problem[]> {
  const ticketKeys = randomBytes(48);
  const log = { debug: ignore, info: ignore, warn: ignore, error: ignore };
  const files = [
    new WorkerTls(ticketKeys),
    new WorkerIdentity({ log, ticketKeys, refused: ignore }),
  ];
  const problems: Problem[] = [];
  for (const file of files) {
    try {
      await file.prepare(config);
    } catch (error) {
      if (!(error instanceof ConfigProblems)) throw error;
      problems.push(...error.problems);
    }
  }
  return problems;
}

const ignore = (): void => {};
