/** How the process ends: the exit codes of the command line, and the error that carries one. */

/** Fine, the user's input is wrong, wrong usage, cannot bind or connect, internal error. */
export const exitCodes = { ok: 0, input: 1, usage: 2, connect: 3, internal: 70 } as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** Ends a command with a message for the user, without a stack. `message` may have several lines. */
export class CommandError extends Error {
  readonly exitCode: ExitCode;
  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.name = "CommandError";
    this.exitCode = exitCode;
  }
}

/** Prints an error on stderr: a message for the user, or the stack of a bug. The exit code to end with. */
export function report(error: unknown): ExitCode {
  if (error instanceof CommandError) {
    process.stderr.write(`${error.message}\n`);
    return error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`weft: internal error: ${text}\n`);
  return exitCodes.internal;
}
