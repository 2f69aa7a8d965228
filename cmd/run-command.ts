/** From what was typed to an exit code: finds the command, shows help, prints errors. */

import { nearest } from "../control/suggest.ts";
import { parseArguments } from "./args.ts";
import type { Command } from "./command.ts";
import { commands, futureCommands } from "./commands.ts";
import { CommandError, exitCodes, report } from "./exit.ts";
import { commandHelp, overview } from "./help.ts";

/** Runs `weft ...argv`. Resolves to the exit code; never rejects. */
export async function runCommand(argv: readonly string[]): Promise<number> {
  surviveClosedOutput();
  try {
    return await run(argv);
  } catch (error) {
    return report(error);
  }
}

/** Whoever reads what we print may leave before its end, as `head` does: that is no error of ours. */
function surviveClosedOutput(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return;
    process.stderr.write(`weft: cannot write the output: ${error.message}\n`);
    process.exit(exitCodes.input);
  });
  // nobody is left to tell
  process.stderr.on("error", () => {});
}

/** `weft help`, `weft help COMMAND`. */
export function showHelp(words: readonly string[]): number {
  if (words.length === 0) {
    process.stdout.write(overview(commands));
    return exitCodes.ok;
  }
  const { command } = find(words);
  process.stdout.write(commandHelp(command));
  return exitCodes.ok;
}

async function run(argv: readonly string[]): Promise<number> {
  const [first] = argv;
  if (first === undefined) {
    process.stderr.write(overview(commands));
    return exitCodes.usage;
  }
  if (first === "--help" || first === "-h") return showHelp([]);
  if (first === "--version" || first === "-v") return run(["version"]);
  const group = groupHelp(argv);
  if (group !== null) return group;
  const { command, used } = find(argv);
  const args = parseArguments(command, argv.slice(used));
  if (args.has("help")) {
    process.stdout.write(commandHelp(command));
    return exitCodes.ok;
  }
  return command.run(args);
}

/** The command that the words begin with; two words first, so that `cert issue` wins. */
function find(words: readonly string[]): { readonly command: Command; readonly used: number } {
  for (const used of [2, 1]) {
    const name = words.slice(0, used).join(" ");
    const command = commands.find((one) => one.name === name);
    if (command !== undefined) return { command, used };
  }
  throw new CommandError(exitCodes.usage, unknown(words));
}

/** `weft cert`, `weft cert --help`: the commands that begin with that word. */
function groupHelp(argv: readonly string[]): number | null {
  const [first, second] = argv;
  const members = commands.filter((one) => one.name.startsWith(`${first} `));
  if (members.length === 0) return null;
  if (second === "--help" || second === "-h") {
    process.stdout.write(members.map(commandHelp).join("\n"));
    return exitCodes.ok;
  }
  if (second !== undefined) return null;
  const names = members.map((one) => `weft ${one.name}`).join(", ");
  throw new CommandError(exitCodes.usage, `weft ${first}: expected ${names}`);
}

function unknown(words: readonly string[]): string {
  const [first, second] = words;
  if (futureCommands.includes(first!)) {
    return `weft ${first}: not built yet\nSee: weft help`;
  }
  const members = commands.filter((one) => one.name.startsWith(`${first} `));
  const typed = members.length > 0 ? `${first} ${second ?? ""}` : first!;
  const names = commands.map((one) => one.name);
  const meant = nearest(typed, names);
  const hint = meant === null ? "" : `; did you mean "${meant}"?`;
  return `weft: unknown command "${typed}"${hint}\nSee: weft help`;
}
