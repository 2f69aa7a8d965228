import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import { z } from "zod";
import { builtInNames, loadBuiltIn } from "../../plugins/registry.ts";
import { parseOptions } from "../../proxy/pipeline/options.ts";

const page = readFileSync(new URL("../../docs/plugins.md", import.meta.url), "utf8");
const sections = new Map(
  page.split(/^## /m).map((text) => [text.slice(0, text.indexOf("\n")), text] as const),
);

for (const name of builtInNames) {
  test(`docs/plugins.md shows ${name} with every option`, async () => {
    const section = sections.get(name);
    assert(section !== undefined, `no section "## ${name}"`);
    const { config } = (await loadBuiltIn(name))!;
    const schema = z.toJSONSchema(config as z.ZodType, { io: "input" });
    for (const option of Object.keys(schema.properties ?? {})) {
      assert(section.includes(`\`${option}\``), `${name}: option ${option}`);
    }
  });
}

test("docs/plugins.md says of each what both sides see, how it fails and what it costs", () => {
  const table = page.slice(page.indexOf("| plugin           "), page.indexOf("\n## request-id"));
  const rows = table.split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
  for (const name of builtInNames) {
    const row = rows.find((cells) => cells[1] === name);
    assert(row !== undefined, name);
    assert.equal(row.slice(1, -1).filter((cell) => cell !== "").length, 5, name);
  }
});

test("the uses in docs/plugins.md are accepted", async () => {
  let uses = 0;
  for (const [, yaml] of page.matchAll(/^```yaml\n([\s\S]*?)^```/gm)) {
    const { plugins } = parse(yaml!) as { plugins: (string | Record<string, unknown>)[] };
    for (const use of plugins) {
      const [name, options] = typeof use === "string" ? [use, undefined] : Object.entries(use)[0]!;
      const definition = await loadBuiltIn(name);
      assert(definition !== null, name);
      const parsed = await parseOptions(definition, options);
      assert(parsed.ok, `${name}: ${JSON.stringify(parsed)}`);
      uses++;
    }
  }
  assert(uses >= builtInNames.length);
});
