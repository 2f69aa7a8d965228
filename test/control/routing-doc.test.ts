import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, it } from "node:test";
import { explain, type Explanation } from "../../control/explain.ts";
import { configOf } from "./loading.ts";

const text = await readFile(new URL("../../docs/routing.md", import.meta.url), "utf8");
const yaml = /```yaml\n([^]*?)```/.exec(text)?.[1] ?? "";
const rows = [...text.matchAll(/^\| `([A-Z]+) (\S+)`(?: with `(\S+): (\S+)`)? +\| (.+?) +\|$/gm)];

describe("the example of docs/routing.md", () => {
  it("has a configuration and requests", async () => {
    assert.equal((await configOf(yaml)).routes.length, 8);
    assert.equal(rows.length, 16);
  });

  for (const [, method = "", url = "", name, value, expected = ""] of rows) {
    const headers = name === undefined ? {} : { [name]: value ?? "" };
    it(`does with ${method} ${url} ${JSON.stringify(headers)} what it says`, async () => {
      const answer = await explain(
        await configOf(yaml),
        { method, url, headers },
        { mode: "gateway" },
      );
      assert.equal(inWords(answer as Explanation), expected);
    });
  }
});

function inWords({ route, status, upstreamTarget, action }: Explanation): string {
  if (route === null) return String(status);
  if (upstreamTarget !== null) return `\`${route}\`, asks for \`${upstreamTarget}\``;
  return `\`${route}\`, ${action.replace(" by weft itself", "")}`;
}
