/** What a command of the command line is: its words, its options, and where its code is. */

/** One option. Without `value` it is a switch. */
export interface OptionSpec {
  /** One letter, for `-c`. */
  readonly short?: string;
  /** What stands for the value in the help, e.g. `FILE`. Absent: a switch. */
  readonly value?: string;
  /** May be given more than once. */
  readonly multiple?: boolean;
  readonly help: string;
  /** Shown in the help; filling it in is the command's work. */
  readonly default?: string;
  /** The only values that are right. */
  readonly choices?: readonly string[];
}

/** What the user typed, after checking names and values. */
export interface Arguments {
  readonly positionals: readonly string[];
  /** What stood after `--`; null when there was none. */
  readonly rest: readonly string[] | null;
  /** The option's value; undefined when it was not given. */
  value(name: string): string | undefined;
  values(name: string): readonly string[];
  /** A switch. */
  has(name: string): boolean;
}

export interface Command {
  /** One or two words: `gateway`, `cert issue`. */
  readonly name: string;
  readonly summary: string;
  /** Positionals as the usage line shows them. */
  readonly positionals?: string;
  /** How many positionals there may be. Default none. */
  readonly arity?: readonly [least: number, most: number];
  /** Takes `-- command args...`. */
  readonly takesRest?: boolean;
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** Paragraphs under the usage line. */
  readonly about?: string;
  readonly examples?: readonly string[];
  /** Resolves to the exit code. Loads its code when called, so that no command pays for another. */
  run(args: Arguments): Promise<number>;
}
