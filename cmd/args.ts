/** Reads a command's arguments: strict about names, with suggestions. */

import { parseArgs } from "node:util";
import { nearest } from "../control/suggest.ts";
import type { Arguments, Command, OptionSpec } from "./command.ts";
import { CommandError, exitCodes } from "./exit.ts";

/** Options that every command understands. */
export const commonOptions: Readonly<Record<string, OptionSpec>> = {
  help: { short: "h", help: "show this help" },
};

/**
 * Checks `argv` (what stands after the command's own words) against the command.
 * @throws {CommandError} wrong usage (exit code 2), saying what was probably meant
 */
export function parseArguments(command: Command, argv: readonly string[]): Arguments {
  const options = { ...commonOptions, ...command.options };
  const end = argv.indexOf("--");
  const own = end === -1 ? [...argv] : argv.slice(0, end);
  const rest = end === -1 ? null : argv.slice(end + 1);
  if (rest !== null && command.takesRest !== true) {
    throw usage(command, `"--" has no meaning here`);
  }
  const { tokens } = parseArgs({
    args: own,
    options: Object.fromEntries(
      Object.entries(options).map(([name, spec]) => [
        name,
        {
          type: spec.value === undefined ? "boolean" : "string",
          ...(spec.short === undefined ? {} : { short: spec.short }),
        } as const,
      ]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const positionals: string[] = [];
  const given = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const spec = Object.hasOwn(options, token.name) ? options[token.name]! : undefined;
    if (spec === undefined) throw usage(command, unknownOption(token.rawName, options));
    given.set(token.name, [
      ...(given.get(token.name) ?? []),
      valueOf(command, spec, token.rawName, token.value),
    ]);
    if (spec.multiple !== true && spec.value !== undefined && given.get(token.name)!.length > 1) {
      throw usage(command, `${token.rawName} was given twice`);
    }
  }
  if (!given.has("help")) checkArity(command, positionals);
  return {
    positionals,
    rest,
    value: (name) => given.get(name)?.at(-1),
    values: (name) => given.get(name) ?? [],
    has: (name) => given.has(name),
  };
}

/** A whole number option; `undefined` when it was not given. */
export function wholeNumber(
  args: Arguments,
  name: string,
  range: readonly [number, number],
): number | undefined {
  const text = args.value(name);
  if (text === undefined) return undefined;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= range[0] && value <= range[1]) return value;
  throw new CommandError(
    exitCodes.usage,
    `--${name} ${text}: expected a whole number from ${range[0]} to ${range[1]}`,
  );
}

function valueOf(
  command: Command,
  spec: OptionSpec,
  rawName: string,
  value: string | undefined,
): string {
  if (spec.value === undefined) {
    if (value !== undefined) throw usage(command, `${rawName} takes no value`);
    return "";
  }
  if (value === undefined || value === "") throw usage(command, `${rawName} needs ${spec.value}`);
  if (spec.choices !== undefined && !spec.choices.includes(value)) {
    const meant = nearest(value, spec.choices);
    const hint = meant === null ? "" : `; did you mean "${meant}"?`;
    throw usage(command, `${rawName} ${value}: expected ${spec.choices.join(", ")}${hint}`);
  }
  return value;
}

function checkArity(command: Command, positionals: readonly string[]): void {
  const [least, most] = command.arity ?? [0, 0];
  if (positionals.length > most) {
    throw usage(command, `unexpected argument "${positionals[most]}"`);
  }
  if (positionals.length < least) {
    const names = (command.positionals ?? "").split(" ");
    throw usage(command, `${names.slice(positionals.length, least).join(" ")} is missing`);
  }
}

function unknownOption(rawName: string, options: Readonly<Record<string, OptionSpec>>): string {
  const meant = nearest(rawName.replace(/^-+/, ""), Object.keys(options));
  return `unknown option ${rawName}${meant === null ? "" : `; did you mean --${meant}?`}`;
}

function usage(command: Command, message: string): CommandError {
  return new CommandError(
    exitCodes.usage,
    `weft ${command.name}: ${message}\nSee: weft ${command.name} --help`,
  );
}
