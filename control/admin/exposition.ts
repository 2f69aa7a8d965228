/** Reads Prometheus text exposition (format 0.0.4), as far as weft writes it. */

/** One line: a name, its labels, its value. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const line = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? +(\S+)(?: +-?\d+)?$/;
const label = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?/g;

/**
 * The samples whose name `wanted` accepts; comments and lines that are not samples are passed over.
 * @param wanted asked with each line's metric name, before its labels are read
 */
export function* readExposition(
  text: string,
  wanted: (name: string) => boolean,
): Generator<Sample> {
  for (const row of text.split("\n")) {
    if (row === "" || row.charCodeAt(0) === 35) continue;
    const end = row.search(/[{ ]/);
    if (end < 0 || !wanted(row.slice(0, end))) continue;
    const match = line.exec(row);
    if (match === null) continue;
    const labels: Record<string, string> = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(label))
      labels[name ?? ""] = unescape(value ?? "");
    yield { name: match[1] ?? "", labels, value: toNumber(match[3] ?? "") };
  }
}

function unescape(text: string): string {
  return text.includes("\\")
    ? text.replace(/\\(.)/g, (_, char: string) => (char === "n" ? "\n" : char))
    : text;
}

function toNumber(text: string): number {
  if (text === "+Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  return Number(text);
}
