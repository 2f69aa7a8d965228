/** Writes docs/configuration.md from the JSON Schema, so that the page and the checks cannot disagree. */

import { pluginSchema, type JsonSchema } from "./json-schema.ts";

interface Row {
  readonly key: string;
  readonly values: string;
  readonly text: string;
}

/** Markdown: the hand-written opening, then a section for each top-level key. */
export function configurationPage(schema: JsonSchema): string {
  const sections: string[] = [];
  const single: Row[] = [];
  for (const [key, value] of Object.entries(schema.properties ?? {})) {
    const rows = rowsOf(value, key);
    if (rows.length === 1) single.push(...rows);
    else
      sections.push(
        [`## ${key}`, sentence(value), table(rows.slice(1))]
          .filter((part) => part !== "")
          .join("\n\n"),
      );
  }
  return `${[opening, ...sections, "## The rest", table(single), closing].join("\n\n")}\n`;
}

/** The schema's own row first, then one for each key below it. */
function rowsOf(schema: JsonSchema, key: string): Row[] {
  const own: Row = { key, values: valuesOf(schema), text: sentence(schema) };
  if (schema["x-weft-not-yet"] === true) return [own];
  return [own, ...below(schema, key)];
}

function below(schema: JsonSchema, key: string): Row[] {
  const rows: Row[] = [];
  for (const [name, value] of Object.entries(schema.properties ?? {}))
    rows.push(...rowsOf(value, `${key}.${name}`));
  if (schema.items !== undefined) rows.push(...below(schema.items, `${key}[]`));
  if (typeof schema.additionalProperties === "object") {
    const value = schema.additionalProperties;
    const name = `${key}.<name>`;
    rows.push(...(isPlain(value) ? [] : below(value, name)));
  }
  for (const branch of schema.anyOf ?? []) {
    const inner = below(branch, key);
    const known = new Set(rows.map((row) => row.key.replaceAll("[]", "")));
    rows.push(...inner.filter((row) => !known.has(row.key.replaceAll("[]", ""))));
  }
  // A policy is described once, under `policies`.
  return rows.filter(
    (row) => !/^(?:services|routes)\S*\.policy\./.test(row.key) && !/\.plugins\[\]\./.test(row.key),
  );
}

function isPlain(schema: JsonSchema): boolean {
  return (
    schema.properties === undefined &&
    schema.anyOf === undefined &&
    schema.items === undefined &&
    typeof schema.additionalProperties !== "object"
  );
}

function valuesOf(schema: JsonSchema): string {
  const expected = schema["x-weft-expected"];
  if (schema.enum !== undefined) {
    const later = new Set(schema["x-weft-later"] ?? []);
    const now = schema.enum
      .filter((value) => !later.has(String(value)))
      .map((value) => `\`${String(value)}\``);
    return later.size === 0
      ? now.join(", ")
      : `${now.join(", ")} (not supported yet: ${[...later].map((word) => `\`${word}\``).join(", ")})`;
  }
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  if (expected !== undefined) return expected;
  if (schema.anyOf !== undefined) {
    const kinds = schema.anyOf.filter((branch) => branch.pattern !== "^\\$\\{").map(valuesOf);
    return [...new Set(kinds)].join("; or ");
  }
  switch (schema.type) {
    case "integer":
    case "number": {
      const word = schema.type === "integer" ? "whole number" : "number";
      const { minimum, maximum } = schema;
      return minimum === undefined || maximum === undefined || maximum > 1e12
        ? word
        : `${word}, ${minimum} to ${maximum}`;
    }
    case "boolean":
      return "`true`, `false`";
    case "array":
      return schema.items === undefined ? "list" : `list of: ${valuesOf(schema.items)}`;
    case "object":
      return "mapping";
    case "string":
      return "text";
    default:
      return "anything";
  }
}

/** The description, and the default when the schema has one. */
function sentence(schema: JsonSchema): string {
  const parts: string[] = [];
  if (schema["x-weft-not-yet"] === true) parts.push("**Not supported yet.**");
  if (schema.description !== undefined) parts.push(schema.description);
  const fallback = schema.default;
  const isTrivial =
    fallback === undefined ||
    fallback === "" ||
    (typeof fallback === "object" && fallback !== null);
  if (!isTrivial && !(schema.description ?? "").includes("Default:"))
    parts.push(`Default: ${String(fallback)}.`);
  return parts.join(" ");
}

/** Padded as the formatter pads it. */
function table(rows: readonly Row[]): string {
  const cells = [
    ["key", "value", "what it is"],
    ...rows.map((row) => [`\`${row.key}\``, row.values, row.text].map(escapeCell)),
  ];
  const widths = [0, 1, 2].map((column) =>
    Math.max(3, ...cells.map((row) => [...(row[column] ?? "")].length)),
  );
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, column) => cell + " ".repeat((widths[column] ?? 0) - [...cell].length)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [line(cells[0] ?? []), rule, ...cells.slice(1).map(line)].join("\n");
}

function escapeCell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll(/\s+/g, " ");
}

const opening = `# Configuration

<!-- Written by scripts/configuration-docs.ts from control/schema.ts: change it there. -->

weft reads one file: YAML, JSON, or a module (\`.ts\`, \`.mts\`, \`.js\`, \`.mjs\`). \`weft gateway\` needs a \`gateway\` block and
\`weft mesh\` a \`mesh\` block; everything else may be left out.

\`\`\`yaml
gateway:
  listeners: [{ port: 8080 }]
services:
  orders: { endpoints: ["127.0.0.1:3001", "127.0.0.1:3002"] }
routes:
  - { name: orders, match: { path: /orders }, to: orders }
\`\`\`

\`\`\`ts
import { defineConfig } from "weft/config";

export default defineConfig({
  gateway: { listeners: [{ port: 8080 }] },
  routes: [{ match: { path: { exact: "/ping" } }, respond: { body: "pong" } }],
});
\`\`\`

- **Checking.** \`weft check -c FILE\` names every mistake with file, line and column, the line itself, what was expected and
  a likely intention; the exit code is then 1. Unknown keys are mistakes. What this page calls not supported yet is
  refused, never ignored. \`weft schema\` prints the JSON Schema for editors:
  \`# yaml-language-server: $schema=weft.schema.json\` on the first line of the file.
- **Reloading.** The file is read again when its content changes and on SIGHUP. A file with a mistake changes nothing; the
  log and \`/readyz\` say what is wrong with it.
- **Variables.** \`\${VAR}\` in any text is the variable of the environment, which must be set; \`\${VAR:-default}\` has a
  default for one that is unset or empty; \`$\${\` is a literal \`\${\`. Inside \`{ }\` and \`[ ]\` put quotes around it. Where a
  number or \`true\` is wanted, a variable that holds one is one.
- **Durations** are \`250ms\`, \`5s\`, \`1m\`, \`24h\`, \`2d\` or a sum such as \`1m30s\`, at most 24 days; a bare number other than 0 is
  refused. **Sizes** are \`512B\`, \`64KiB\`, \`1MiB\` (1024s) or \`10KB\`, \`10MB\` (1000s). **Rates** are \`100/min\`, per \`s\`, \`min\`,
  \`h\` or \`day\`.
- **Files** named in the configuration are relative to its folder, and must be readable.
- **YAML** anchors, aliases and merge keys (\`<<\`) work. A file is at most 8 MiB, nested at most 64 levels.`;

const closing = `## One use of a plugin

An item of a \`plugins\` list is a name (\`request-id\`), or a mapping from a name to its options. A name that begins with \`./\`,
\`../\` or \`/\` is a file; any other that is not built in is an installed package. These keys may stand beside it:

\`\`\`yaml
plugins:
  - request-id
  - jwt: { issuer: https://id.example.com/, audience: api }
  - ./plugins/tenant.ts: { header: x-tenant }
    when: method != "OPTIONS"
\`\`\`

${table(
  rowsOf(pluginSchema(), "")
    .slice(1)
    .map((row) => ({ ...row, key: row.key.replace(/^\./, "") })),
)}

Plugins run by stage (observe, admit, authn, authz, limit, transform), then by \`before\` and \`after\`, then in the order of
the lists, the global one first. The options of each built-in are in [plugins.md](plugins.md).`;
