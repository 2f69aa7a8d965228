/** Imports a configuration written as a program, in a worker thread of its own: module caches never free, and a program may hang. */

import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import type { ConfigPath, Problem } from "../config.ts";

/** What the thread posts. */
export type ModuleAnswer =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false;
      readonly message: string;
      readonly expected: string;
      readonly path: ConfigPath;
      /** Where the program itself is at fault, from 1; 0 or absent: the value at `path` is. */
      readonly line?: number;
    };

const longestMs = 10_000;

/** `file` is absolute. Its default export must be plain data; it is cut after 10 s. */
export function importConfig(
  file: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly problem: Problem; readonly line: number }
> {
  // The built package holds .js files beside each other, a clone .ts files.
  const entry = new URL(`./module-thread${extname(import.meta.filename)}`, import.meta.url);
  return new Promise((settle) => {
    const worker = new Worker(entry, {
      workerData: { file },
      env: { ...env } as NodeJS.ProcessEnv,
      stdin: true,
      resourceLimits: { maxOldGenerationSizeMb: 512 },
    });
    let over = false;
    const finish = (answer: ModuleAnswer): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      void worker.terminate();
      if (answer.ok) settle(answer);
      else
        settle({
          ok: false,
          line: answer.line ?? 0,
          problem: {
            path: answer.path,
            at: "value",
            message: answer.message,
            expected: answer.expected,
          },
        });
    };
    const fail = (message: string, expected: string): void =>
      finish({ ok: false, message, expected, path: [] });
    const timer = setTimeout(
      () =>
        fail(
          `the module did not finish within ${longestMs / 1000} s`,
          "a module that exports a configuration at once",
        ),
      longestMs,
    );
    worker.once("message", (answer: ModuleAnswer) => finish(answer));
    worker.once("messageerror", () =>
      fail("the default export is not plain data", "export default defineConfig({ ... })"),
    );
    worker.once("error", (error) =>
      fail(
        `the module failed: ${error instanceof Error ? error.message : String(error)}`,
        "export default defineConfig({ ... })",
      ),
    );
    worker.once("exit", (code) =>
      fail(`the module ended its thread (code ${code})`, "export default defineConfig({ ... })"),
    );
  });
}
