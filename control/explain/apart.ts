/** Explains a request in a thread of its own: the code of plugins is read afresh each time, and none of it runs in this one. */

import { extname, isAbsolute } from "node:path";
import { Worker } from "node:worker_threads";
import { allUses } from "../compile/definitions.ts";
import type { Config } from "../config.ts";
import { explain, type ExplainEnv, type Explanation, type Question } from "../explain.ts";

/** What the thread is told. */
export interface ExplainTask {
  readonly config: Config;
  readonly question: Question;
  readonly mode: ExplainEnv["mode"];
  /** By service. */
  readonly endpoints: Readonly<
    Record<string, ReturnType<NonNullable<ExplainEnv["endpoints"]>> | undefined>
  >;
}

const longestMs = 10_000;

/**
 * {@link explain} for a process that lives long: module caches never free, so that a plugin's file would be known in
 * the version that was there first. Without plugins from files nothing is loaded, and it answers right here.
 * Rejects when a plugin's file does not get loaded within 10 s, or ends its thread.
 */
export function explainApart(
  config: Config,
  question: Question,
  env: Required<ExplainEnv>,
): Promise<Explanation | string> {
  if (!allUses(config).some(({ use }) => isAbsolute(use))) return explain(config, question, env);
  const names = Object.keys(config.services);
  const task: ExplainTask = {
    config,
    question,
    mode: env.mode,
    endpoints: Object.fromEntries(names.map((name) => [name, env.endpoints(name)])),
  };
  // the built package holds .js files beside each other, a clone .ts files
  const entry = new URL(`./thread${extname(import.meta.filename)}`, import.meta.url);
  return new Promise((resolve, reject) => {
    const worker = new Worker(entry, {
      workerData: task,
      stdout: true,
      resourceLimits: { maxOldGenerationSizeMb: 512 },
    });
    const timer = setTimeout(() => {
      reject(new Error(`the plugins were not loaded within ${longestMs / 1000} s`));
      void worker.terminate();
    }, longestMs);
    worker.once("message", (answer: Explanation | string) => {
      resolve(answer);
      void worker.terminate();
    });
    worker.once("error", reject);
    worker.once("exit", (code) => {
      clearTimeout(timer);
      reject(new Error(`a plugin's file ended its thread (code ${code})`));
    });
  });
}
