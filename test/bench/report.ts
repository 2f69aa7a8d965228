/** Results as a table for people, JSON for machines, and the page of the docs. */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";

/** One figure of one contestant. */
export interface Figure {
  /** As people read it. */
  readonly text: string;
  /** For machines; null: there is none. */
  readonly value: number | null;
}

/** One line of a table. */
export interface Row {
  readonly label: string;
  readonly figures: readonly Figure[];
  /** Every round's first figure. */
  readonly rounds?: readonly number[];
  /** Answers that were not good, and connections that failed. */
  readonly errors: number;
}

/** One case's figures. */
export interface CaseResult {
  readonly name: string;
  readonly title: string;
  /** What the ratios are taken against. */
  readonly base: string | null;
  /** Names of the figures. */
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
  /** Contestants that could not take part, with the reason. */
  readonly missing: readonly string[];
}

/** The middle value; the mean of the two middle ones when even. NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A figure with a fixed number of decimals; `-` for none. */
export function figure(value: number | null, decimals: number): Figure {
  if (value === null || !Number.isFinite(value)) return { text: "-", value: null };
  return { text: value.toFixed(decimals), value };
}

function cells(row: Row): string[] {
  const label = row.errors > 0 ? `${row.label} (${row.errors} ERRORS)` : row.label;
  return [label, ...row.figures.map((each) => each.text)];
}

/** For the terminal. */
export function toText(result: CaseResult): string {
  const table = [
    ["", ...result.columns, "rounds"],
    ...result.rows.map((row) => [
      ...cells(row),
      (row.rounds ?? []).map((value) => value.toPrecision(3)).join(" "),
    ]),
  ];
  const widths = table[0]!.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  const lines = table.map((row) => "  " + row.map((cell, i) => cell.padEnd(widths[i]!)).join("  "));
  const missing = result.missing.map((each) => `  missing: ${each}`);
  const base = result.base === null ? "" : ` (ratio to ${result.base})`;
  return [`${result.name}: ${result.title}${base}`, ...lines, ...missing, ""].join("\n");
}

/** Writes `latest.json` and a dated copy into the folder. */
export function writeJson(folder: string, results: readonly CaseResult[]): string {
  fs.mkdirSync(folder, { recursive: true });
  const at = new Date().toISOString();
  const text = JSON.stringify({ at, machine: machine(), results }, null, 2);
  const file = path.join(folder, "latest.json");
  fs.writeFileSync(file, text);
  fs.writeFileSync(path.join(folder, `${at.replaceAll(":", "-")}.json`), text);
  return file;
}

/** Replaces the tables of docs/benchmarks.md between its markers, case by case; other cases stay as they are. */
export function updateDocs(file: string, results: readonly CaseResult[]): void {
  let text = fs.readFileSync(file, "utf8");
  for (const result of results) {
    const open = `<!-- bench:${result.name} -->`;
    const from = text.indexOf(open);
    if (from === -1) continue;
    const to = text.indexOf("<!-- /bench -->", from);
    text = `${text.slice(0, from + open.length)}\n${toMarkdown(result)}\n${text.slice(to)}`;
  }
  fs.writeFileSync(file, text);
}

function toMarkdown(result: CaseResult): string {
  const rounds = result.rows[0]?.rounds?.length ?? 0;
  const facts = [
    ...(result.base === null ? [] : [`Ratio to ${result.base}`]),
    ...(rounds === 0 ? [] : [`${rounds} rounds`]),
    machine(),
    new Date().toISOString().slice(0, 10),
    ...(result.missing.length === 0 ? [] : [`missing: ${result.missing.join("; ")}`]),
  ];
  return [
    "",
    `| ${["", ...result.columns].join(" | ")} |`,
    `| ${["---", ...result.columns.map(() => "---:")].join(" | ")} |`,
    ...result.rows.map((row) => `| ${cells(row).join(" | ")} |`),
    "",
    `${facts.join("; ")}.`,
    "",
  ].join("\n");
}

function machine(): string {
  const cpus = os.cpus();
  return `${cpus[0]?.model.trim() ?? "unknown processor"}, ${cpus.length} cores, Node ${process.versions.node}, Linux ${os.release()}`;
}
