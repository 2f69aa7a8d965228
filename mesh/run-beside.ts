/** The command after `--`: the app that a sidecar stands beside. */

import { spawn, type ChildProcess } from "node:child_process";
import { constants } from "node:os";
import type { Log } from "../proxy/pipeline/plugin.ts";

/** A running app. */
export interface Beside {
  /** Its exit code; 128 + n when signal n ended it; 127 when there is no such program, 126 when it cannot be run. */
  readonly exited: Promise<number>;
  /** Passes a signal on; nothing once it has ended. */
  signal(name: NodeJS.Signals): void;
}

export interface BesideOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
  /** A terminal sends Ctrl-C to the app itself: it must not get it twice. */
  readonly isTerminal: boolean;
}

/** Starts the app; call it once the sidecar is ready. Its input and output are ours. */
export function runBeside(command: readonly [string, ...string[]], options: BesideOptions): Beside {
  const [file, ...args] = command;
  const child = spawn(file, args, { stdio: "inherit", env: options.env });
  return {
    exited: exitCode(child, file, options.log),
    signal(name) {
      if (name === "SIGINT" && options.isTerminal) return;
      if (child.exitCode === null && child.signalCode === null) child.kill(name);
    },
  };
}

function exitCode(child: ChildProcess, file: string, log: Log): Promise<number> {
  return new Promise((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      const missing = error.code === "ENOENT";
      log.error(`cannot start ${file}: ${missing ? "there is no such program" : error.message}`);
      // the shell's codes: callers already know them
      if (child.pid === undefined) resolve(missing ? 127 : 126);
    });
    child.once("exit", (code, signal) => {
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
