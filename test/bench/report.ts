/** Results as a table for people, JSON for machines, and the page of the docs. */

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Case } from "./cases.ts";

/** Figures of one contestant; medians over the rounds. */
export interface Row {
  readonly label: string;
  /** Microseconds of CPU in the proxy per request. */
  readonly cpuUs: number;
  /** Every round's figure. */
  readonly rounds: readonly number[];
  /** Median over rounds of the ratio to the base in the same round. */
  readonly ratio: number | null;
  readonly requestsPerSecond: number;
  readonly p99Ms: number;
  readonly errors: number;
}

/** One case's figures. */
export interface CaseResult {
  readonly case: Pick<Case, "name" | "title" | "base">;
  readonly rows: readonly Row[];
  /** Contestants that could not be started, with the reason. */
  readonly missing: readonly string[];
}

/** The middle value; the mean of the two middle ones when even. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const head = ["", "CPU us/request", "ratio", "requests/s", "p99 ms", "rounds"];

function cells(row: Row): string[] {
  return [
    row.label,
    row.cpuUs.toFixed(1),
    row.ratio === null ? "-" : row.ratio.toFixed(2),
    row.requestsPerSecond.toFixed(0),
    row.p99Ms.toFixed(1),
    row.rounds.map((value) => value.toFixed(1)).join(" ") +
      (row.errors > 0 ? ` (${row.errors} ERRORS)` : ""),
  ];
}

/** For the terminal. */
export function toText(result: CaseResult): string {
  const table = [head, ...result.rows.map(cells)];
  const widths = head.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  const lines = table.map((row) => "  " + row.map((cell, i) => cell.padEnd(widths[i]!)).join("  "));
  const missing = result.missing.map((each) => `  missing: ${each}`);
  return [
    `${result.case.name}: ${result.case.title} (ratio to ${result.case.base})`,
    ...lines,
    ...missing,
    "",
  ].join("\n");
}

/** Writes `latest.json` and a dated copy into the folder. */
export function writeJson(folder: string, results: readonly CaseResult[]): string {
  fs.mkdirSync(folder, { recursive: true });
  const text = JSON.stringify(
    { at: new Date().toISOString(), machine: machine(), results },
    null,
    2,
  );
  const file = path.join(folder, "latest.json");
  fs.writeFileSync(file, text);
  fs.writeFileSync(
    path.join(folder, `${new Date().toISOString().replaceAll(":", "-")}.json`),
    text,
  );
  return file;
}

/** Replaces the tables of docs/benchmarks.md between its markers, case by case; other cases stay as they are. */
export function updateDocs(file: string, results: readonly CaseResult[]): void {
  let text = fs.readFileSync(file, "utf8");
  for (const result of results) {
    const open = `<!-- bench:${result.case.name} -->`;
    const close = "<!-- /bench -->";
    const from = text.indexOf(open);
    if (from === -1) continue;
    const to = text.indexOf(close, from);
    const shown = head.slice(0, 5);
    const lines = [
      `| ${shown.join(" | ")} |`,
      `| ${shown.map(() => "---").join(" | ")} |`,
      ...result.rows.map((row) => `| ${cells(row).slice(0, 5).join(" | ")} |`),
      "",
      `Ratio to ${result.case.base}; ${result.rows[0]?.rounds.length ?? 0} rounds; ${machine()}; ${new Date().toISOString().slice(0, 10)}.`,
    ];
    text = `${text.slice(0, from + open.length)}\n${lines.join("\n")}\n${text.slice(to)}`;
  }
  fs.writeFileSync(file, text);
}

function machine(): string {
  const cpus = os.cpus();
  return `${cpus[0]?.model.trim() ?? "unknown processor"}, ${cpus.length} cores, Node ${process.versions.node}, Linux ${os.release()}`;
}
