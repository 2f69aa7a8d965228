import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { loadConfig } from "../../control/load.ts";
import { folder } from "./loading.ts";

async function load(
  t: TestContext,
  source: string,
  name = "weft.config.ts",
  env: Record<string, string> = {},
) {
  const path = await folder(t, { [name]: source });
  return loadConfig(join(path, name), { mode: "check", env });
}

async function messageOf(t: TestContext, source: string, name?: string): Promise<string> {
  const result = await load(t, source, name);
  assert.ok(!result.ok);
  const [problem] = result.problems;
  assert.match(problem?.file ?? "", /weft\.config/);
  return `${problem?.path.join(".")} ${problem?.message}`.trim();
}

describe("a configuration that is a module", () => {
  it("imports weft/config from any folder, computes, and reads its environment", async (t) => {
    const result = await load(
      t,
      `import { defineConfig } from 'weft/config'
       const ports: number[] = [1, 2]
       export default defineConfig({
         gateway: { listeners: ports.map((port) => ({ name: 'l' + port, port: port + Number(process.env['BASE']) })) },
         services: { a: { endpoints: ['\${HOST}:1'] } },
         routes: [{ to: 'a', policy: undefined }],
       })`,
      "weft.config.ts",
      { BASE: "8000", HOST: "db" },
    );
    assert.ok(result.ok);
    assert.deepEqual(
      result.config.gateway?.listeners.map((listener) => listener.port),
      [8001, 8002],
    );
    assert.equal(result.config.services["a"]?.endpoints[0]?.address, "db:1");
  });

  it("may be JavaScript, and its default export a promise", async (t) => {
    assert.ok(
      (await load(t, "export default Promise.resolve({ workers: 1 })", "weft.config.mjs")).ok,
    );
  });

  it("is read afresh each time", async (t) => {
    const path = await folder(t, { "weft.config.ts": "export default { workers: 1 }" });
    const file = join(path, "weft.config.ts");
    const first = await loadConfig(file, { mode: "check", env: {} });
    const { writeFile } = await import("node:fs/promises");
    await writeFile(file, "export default { workers: 2 }");
    const second = await loadConfig(file, { mode: "check", env: {} });
    assert.ok(first.ok && second.ok);
    assert.deepEqual([first.config.workers, second.config.workers], [1, 2]);
  });

  it("has the problems of any other, with the path in the configuration", async (t) => {
    assert.equal(
      await messageOf(t, 'export default { routes: [{ tto: "a" }] }'),
      'routes.0.tto unknown key "tto"',
    );
    assert.equal(
      await messageOf(t, 'export default { routes: [{ to: "a" }] }'),
      'routes.0.to.0.service no service is named "a"',
    );
    assert.equal(
      await messageOf(t, 'export default { admin: { token: "${NOPE}" } }'),
      "admin.token environment variable NOPE is not set",
    );
  });

  it("is refused when it cannot be loaded, and says where", async (t) => {
    assert.match(
      await messageOf(t, "export default {\n  a: ]\n}"),
      /the module cannot be loaded: SyntaxError/,
    );
    assert.match(await messageOf(t, 'import "./nope.ts"'), /cannot be loaded/);
    assert.match(await messageOf(t, 'throw new Error("no luck")'), /no luck/);
    assert.match(await messageOf(t, "export const a = 1"), /no default export/);
    assert.match(
      await messageOf(t, "await new Promise(() => {})\nexport default {}"),
      /ended its thread|did not finish/,
    );
    assert.match(await messageOf(t, "process.exit(3)"), /ended its thread \(code 3\)/);
    assert.match(
      await messageOf(
        t,
        'setTimeout(() => { throw new Error("later") })\nawait new Promise(() => {})',
      ),
      /later|ended/,
    );
  });

  it("is refused when it exports what is not plain data", async (t) => {
    assert.equal(
      await messageOf(t, "export default { routes: [{ to: () => 1 }] }"),
      "routes.0.to is a function",
    );
    assert.equal(await messageOf(t, "export default { workers: 1n }"), "workers is a bigint");
    assert.equal(
      await messageOf(t, "export default { routes: new Map() }"),
      "routes is a Map object",
    );
    assert.match(
      await messageOf(t, "const a: any = {}; a.a = a; export default a"),
      /holds itself/,
    );
    assert.equal(await messageOf(t, "export default () => ({})"), "is a function");
    assert.match(await messageOf(t, "export default null"), /a configuration is a mapping/);
  });
});
