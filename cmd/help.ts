/** Writes the help texts, all from the command table. */

import { commonOptions } from "./args.ts";
import type { Command, OptionSpec } from "./command.ts";

/** `weft help`: every command in a line. */
export function overview(commands: readonly Command[]): string {
  const width = Math.max(...commands.map((command) => command.name.length)) + 2;
  return [
    "weft: one proxy with two modes, an edge gateway and a service-mesh sidecar",
    "",
    "usage: weft COMMAND [options]",
    "",
    "commands:",
    ...commands.map((command) => `  ${command.name.padEnd(width)}${command.summary}`),
    "",
    "First steps:",
    "  weft demo                             a gateway, sidecars and sample services",
    "  weft dev --to http://127.0.0.1:3000   a gateway in front of your service, with no config",
    "  weft gateway -c weft.yaml             the real thing",
    "",
    "weft COMMAND --help explains a command. Exit codes: 0 fine, 1 the input is wrong,",
    "2 wrong usage, 3 cannot bind or connect, 70 internal error.",
    "",
  ].join("\n");
}

/** `weft COMMAND --help`. */
export function commandHelp(command: Command): string {
  const entries = Object.entries({ ...command.options, ...commonOptions });
  const names = entries.map(([name, spec]) => optionName(name, spec));
  const width = Math.max(...names.map((name) => name.length)) + 2;
  const lines = [
    `weft ${command.name}: ${command.summary}`,
    "",
    `usage: weft ${command.name}${usageTail(command)}`,
  ];
  if (command.about !== undefined) lines.push("", command.about);
  lines.push("", "options:");
  entries.forEach(([, spec], index) => {
    const text = [spec.help];
    if (spec.choices !== undefined) text.push(`(${spec.choices.join(", ")})`);
    if (spec.default !== undefined) text.push(`[default: ${spec.default}]`);
    const [first, ...others] = wrap(text.join(" "), lineWidth - width - 2);
    lines.push(`  ${names[index]!.padEnd(width)}${first}`);
    for (const other of others) lines.push(" ".repeat(width + 2) + other);
  });
  if (command.examples !== undefined) {
    lines.push("", "examples:", ...command.examples.map((example) => `  ${example}`));
  }
  lines.push("");
  return lines.join("\n");
}

const lineWidth = 96;

/** Lines of whole words. */
function wrap(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function usageTail(command: Command): string {
  const parts: string[] = [];
  if (command.positionals !== undefined) parts.push(command.positionals);
  if (Object.keys(command.options).length > 0) parts.push("[options]");
  if (command.takesRest === true) parts.push("[-- COMMAND args...]");
  return parts.length === 0 ? "" : ` ${parts.join(" ")}`;
}

function optionName(name: string, spec: OptionSpec): string {
  const short = spec.short === undefined ? "    " : `-${spec.short}, `;
  const value = spec.value === undefined ? "" : ` ${spec.value}`;
  return `${short}--${name}${value}${spec.multiple === true ? " ..." : ""}`;
}
