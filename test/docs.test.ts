/** The documentation holds: links lead somewhere, and every configuration shown is accepted. */

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { createAuthority, issueCertificate } from "../control/authority/authority.ts";
import { loadConfig } from "../control/load.ts";
import { filesBelow, root } from "./support/source-tree.ts";

const pages = [path.join(root, "README.md"), ...filesBelow(path.join(root, "docs"))].filter(
  (file) => file.endsWith(".md"),
);
const work = fs.mkdtempSync(path.join(os.tmpdir(), "weft-docs-"));
after(() => fs.rmSync(work, { recursive: true, force: true }));

/** Certificates and plugins under the names that the pages use. */
before(async () => {
  const ca = path.join(work, "ca");
  const out = path.join(work, "certs");
  await createAuthority(ca, "weft.local");
  for (const service of ["api", "shop", "orders", "web", "gateway"])
    await issueCertificate({ service, ca, out });
  fs.cpSync(path.join(root, "examples/plugins"), path.join(work, "plugins"), { recursive: true });
  for (const name of ["clients.crt", "internal-ca.crt"])
    fs.copyFileSync(path.join(ca, "ca.crt"), path.join(out, name));
});

for (const page of pages) {
  const name = path.relative(root, page);
  const text = fs.readFileSync(page, "utf8");

  test(`the links of ${name} lead somewhere`, () => {
    const targets = [...text.matchAll(/\]\((?!https?:|#)([^)\s]+)\)/g)].map(
      (match) => match[1]!.split("#")[0]!,
    );
    assert.deepEqual(
      targets.filter((target) => !fs.existsSync(path.resolve(path.dirname(page), target))),
      [],
    );
  });

  const configs = [...text.matchAll(/^```yaml\n([\s\S]*?)^```/gm)]
    .map((match) => match[1]!)
    .filter((yaml) => /^(gateway|mesh):/m.test(yaml));
  if (configs.length === 0) continue;
  describe(`the configurations of ${name} are accepted:`, () => {
    for (const [i, yaml] of configs.entries()) {
      test(`number ${i + 1}`, async () => {
        const file = path.join(work, `${path.basename(page)}-${i}.yaml`);
        // a hash that a reader has to fill in
        fs.writeFileSync(file, yaml.replaceAll('"sha256:..."', `"sha256:${"0".repeat(64)}"`));
        const result = await loadConfig(file, { mode: "check", env: {} });
        const problems = result.ok
          ? []
          : result.problems.map((each) => `${each.line}:${each.column} ${each.message}`);
        assert.deepEqual(problems, []);
      });
    }
  });
}

test("README.md leads to every page of docs/", () => {
  const text = fs.readFileSync(path.join(root, "README.md"), "utf8");
  for (const page of fs.readdirSync(path.join(root, "docs")))
    assert.ok(text.includes(`(docs/${page})`), page);
});
