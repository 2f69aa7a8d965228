import assert from "node:assert/strict";
import { mkdir, rename, symlink, unlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { watchFiles, type Watch } from "../../control/watch.ts";
import { folder } from "./loading.ts";

interface Watched {
  readonly watch: Watch;
  /** The files of the next report, which ends a wait of five seconds otherwise. */
  next(): Promise<readonly string[]>;
  readonly reports: (readonly string[])[];
}

async function watched(t: TestContext, files: readonly string[]): Promise<Watched> {
  const reports: (readonly string[])[] = [];
  let wake: (() => void) | null = null;
  const watch = await watchFiles(
    files,
    (changed) => {
      reports.push(changed);
      wake?.();
    },
    { debounceMs: 5, pollMs: 60_000 },
  );
  t.after(() => watch.close());
  let read = 0;
  return {
    watch,
    reports,
    async next() {
      if (reports.length <= read) {
        const late = setTimeout(() => wake?.(), 5000);
        await new Promise<void>((resolve) => (wake = resolve));
        clearTimeout(late);
      }
      return reports[read++] ?? assert.fail("no report came");
    },
  };
}

describe("a watched file", () => {
  it("is reported when it is written", async (t) => {
    const path = await folder(t, { a: "1", b: "1" });
    const { next } = await watched(t, [join(path, "a"), join(path, "b")]);
    await writeFile(join(path, "b"), "2");
    assert.deepEqual(await next(), [join(path, "b")]);
  });

  it("is reported when another is renamed over it", async (t) => {
    const path = await folder(t, { a: "1", new: "2" });
    const { next } = await watched(t, [join(path, "a")]);
    await rename(join(path, "new"), join(path, "a"));
    assert.deepEqual(await next(), [join(path, "a")]);
  });

  it("is reported when Kubernetes swaps the folder behind a symlink", async (t) => {
    const path = await folder(t, { "..1/weft.yaml": "one", "..2/weft.yaml": "two" });
    await symlink("..1", join(path, "..data"));
    await symlink("..data/weft.yaml", join(path, "weft.yaml"));
    const { next } = await watched(t, [join(path, "weft.yaml")]);
    await symlink("..2", join(path, "..tmp"));
    await rename(join(path, "..tmp"), join(path, "..data"));
    assert.deepEqual(await next(), [join(path, "weft.yaml")]);
    await writeFile(join(path, "..2/weft.yaml"), "three");
    assert.deepEqual(await next(), [join(path, "weft.yaml")]);
  });

  it("is reported when it is gone for good, and when it is back", async (t) => {
    const path = await folder(t, { a: "1" });
    const { next } = await watched(t, [join(path, "a")]);
    await unlink(join(path, "a"));
    assert.deepEqual(await next(), [join(path, "a")]);
    await writeFile(join(path, "a"), "1");
    assert.deepEqual(await next(), [join(path, "a")]);
  });

  it("is not reported when it is touched, or its neighbour is written", async (t) => {
    const path = await folder(t, { a: "1", b: "1" });
    const { watch, reports } = await watched(t, [join(path, "a")]);
    await utimes(join(path, "a"), 1, 1);
    await writeFile(join(path, "a"), "1");
    await writeFile(join(path, "b"), "2");
    await watch.check();
    assert.deepEqual(reports, []);
  });

  it("is found by a look when no event came", async (t) => {
    const path = await folder(t, { "sub/a": "1" });
    const { watch, reports } = await watched(t, [join(path, "sub/a")]);
    await writeFile(join(path, "sub/a"), "2");
    await watch.check();
    assert.ok(reports.length <= 1);
    await watch.check();
    assert.equal(reports.length, 1);
  });

  it("may be missing at first, its folder too", async (t) => {
    const path = await folder(t, { a: "1" });
    const { watch, reports } = await watched(t, [join(path, "later/b")]);
    await mkdir(join(path, "later"));
    await writeFile(join(path, "later/b"), "1");
    await watch.check();
    await watch.check();
    assert.deepEqual(reports, [[join(path, "later/b")]]);
  });
});

describe("a watch", () => {
  it("follows other files when it is told to", async (t) => {
    const path = await folder(t, { a: "1", b: "1" });
    const { watch, next, reports } = await watched(t, [join(path, "a")]);
    watch.setFiles([join(path, "b")]);
    await watch.check();
    await writeFile(join(path, "a"), "2");
    await writeFile(join(path, "b"), "2");
    assert.deepEqual(await next(), [join(path, "b")]);
    assert.equal(reports.length, 1);
  });

  it("is silent after it is closed", async (t) => {
    const path = await folder(t, { a: "1" });
    const { watch, reports } = await watched(t, [join(path, "a")]);
    watch.close();
    await writeFile(join(path, "a"), "2");
    await watch.check();
    assert.deepEqual(reports, []);
  });
});
