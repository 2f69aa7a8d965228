/** docs/reliability.md promises tests by file and name: they exist. */

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { root } from "../support/source-tree.ts";

const text = fs.readFileSync(path.join(root, "docs/reliability.md"), "utf8");
/** The last column of the table. */
const promised = [...text.matchAll(/\| `(test\/[^`]+)`: (.+?) +\|$/gm)].map(
  ([, file, name]) => [file!, name!] as const,
);
/** In the text above it. */
const named = [...text.matchAll(/\(`(test\/[^`]+)`,\s+"([^"]+)"\)/g)].map(
  ([, file, name]) => [file!, name!] as const,
);

test("every row of docs/reliability.md names a test that exists", () => {
  const rows = text.match(/^\|(?! -)/gm)!.length - 1;
  assert.equal(promised.length, rows, "rows without a test");
  assert.equal(named.length, 2);
  for (const [file, name] of [...promised, ...named]) {
    assert.ok(fs.existsSync(path.join(root, file)), `${file} is gone`);
    const source = fs.readFileSync(path.join(root, file), "utf8");
    assert.ok(
      [`"${name}"`, `\`${name}\``, `'${name}'`].some((quoted) => source.includes(quoted)),
      `${file} has no test named ${JSON.stringify(name)}`,
    );
  }
});
