/** Lays out columns of text for people. */

/** A column: its title, and whether it holds numbers (set to the right). */
export interface Column {
  readonly title: string;
  readonly numeric?: boolean;
}

/**
 * Lines of a table with a heading; columns two spaces apart, none wider than its widest cell. A cell with several
 * lines makes a row of several lines. Control characters are shown as `?`: names come from files and networks.
 */
export function textTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const cells = rows.map((row) => row.map((cell) => cell.split("\n").map(printable)));
  const widths = columns.map((column, i) =>
    Math.max(
      column.title.length,
      ...cells.flatMap((row) => (row[i] ?? []).map((line) => line.length)),
    ),
  );
  const lines = [columns.map((column) => column.title.toUpperCase())];
  for (const row of cells) {
    const height = Math.max(1, ...row.map((cell) => cell.length));
    for (let i = 0; i < height; i++) lines.push(row.map((cell) => cell[i] ?? ""));
  }
  return lines.map((line) => `${layOut(line, columns, widths)}\n`).join("");
}

function layOut(
  line: readonly string[],
  columns: readonly Column[],
  widths: readonly number[],
): string {
  const padded = columns.map((column, i) => {
    const text = line[i] ?? "";
    return column.numeric === true ? text.padStart(widths[i]!) : text.padEnd(widths[i]!);
  });
  return padded.join("  ").trimEnd();
}

function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
}
