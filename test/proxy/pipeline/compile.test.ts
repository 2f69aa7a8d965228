import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { ChainError } from "../../../proxy/pipeline/compile.ts";
import { SetupError } from "../../../proxy/pipeline/instance-store.ts";
import { definePlugin, slot } from "../../../proxy/pipeline/plugin.ts";
import type { AnyPlugin, PluginDefinition, Stage } from "../../../proxy/pipeline/plugin.ts";
import { PluginKit, createKit } from "../../support/plugin-kit.ts";

function plugin(
  name: string,
  stage: Stage,
  more: Partial<PluginDefinition<undefined>> = {},
): AnyPlugin {
  return definePlugin({ name, stage, setup: () => ({ request() {} }), ...more });
}

async function order(uses: Parameters<typeof createKit>[0]): Promise<string[]> {
  const kit = await createKit(uses);
  await kit.close();
  return kit.chain!.plugins.map(({ id }) => id);
}

test("order is stage, then before and after, then the list", async () => {
  assert.deepEqual(
    await order([
      { use: plugin("t1", "transform") },
      { use: plugin("n1", "authn") },
      { use: plugin("o1", "observe") },
      { use: plugin("n2", "authn", { before: ["n1"] }) },
      { use: plugin("t2", "transform"), before: ["t1"] },
      { use: plugin("t3", "transform"), id: "third", after: ["n1"] },
    ]),
    ["o1", "n2", "n1", "t2", "t1", "third"],
  );
});

test("a plugin's own wish about one that is absent is ignored, the operator's is an error", async () => {
  assert.deepEqual(await order([{ use: plugin("a", "authn", { before: ["absent"] }) }]), ["a"]);
  await assert.rejects(order([{ use: plugin("a", "authn"), before: ["absent"] }]), ChainError);
});

test("a circle and an order against the stages are errors that name the plugins", async () => {
  await assert.rejects(
    order([
      { use: plugin("a", "authn"), before: ["b"] },
      { use: plugin("b", "authn"), before: ["a"] },
    ]),
    /a, b form a circle/,
  );
  await assert.rejects(
    order([{ use: plugin("a", "transform"), before: ["b"] }, { use: plugin("b", "authn") }]),
    /a cannot run before b/,
  );
});

test("a plugin is refused in a mode that it does not declare", async () => {
  const kit = new PluginKit({ mode: "mesh-inbound" });
  await assert.rejects(kit.setUp([{ use: plugin("edge", "authn") }]), /edge runs in gateway only/);
});

test("a slot that a plugin requires must be filled before it, without a condition", async () => {
  const Tenant = slot<string>("tenant");
  const gives = plugin("gives", "authn", { provides: [Tenant] });
  const needs = plugin("needs", "authz", { requires: [Tenant] });
  assert.deepEqual(await order([{ use: needs }, { use: gives }]), ["gives", "needs"]);
  await assert.rejects(order([{ use: needs }]), /needs tenant/);
  await assert.rejects(order([{ use: needs }, { use: gives, when: "true" }]), /needs tenant/);
  await assert.rejects(order([{ use: needs }, { use: gives, onError: "open" }]), /needs tenant/);
});

test("absent hooks are null", async () => {
  const kit = await createKit([{ use: plugin("a", "authn") }]);
  const { chain } = kit;
  assert.equal(chain?.response, null);
  assert.equal(chain?.done, null);
  assert.equal(chain?.request?.length, 1);
  await kit.close();
});

test("equal uses share one instance, which closes with its last user", async () => {
  let setups = 0;
  let closes = 0;
  const counted = definePlugin({
    name: "counted",
    stage: "transform",
    config: z.strictObject({ a: z.number(), b: z.number().default(2) }),
    setup: () => {
      setups++;
      return { close: () => void closes++ };
    },
  });
  const kit = new PluginKit({});
  const spec = (options: unknown, route: string) =>
    ({
      definition: counted,
      id: "counted",
      options,
      mode: "gateway",
      route,
      stage: null,
      when: null,
      onError: null,
      before: [],
      after: [],
    }) as const;
  const one = await kit.store.acquire(spec({ a: 1, b: 3 }, "x"), kit.facts());
  const two = await kit.store.acquire(spec({ b: 3, a: 1 }, "y"), kit.facts());
  const other = await kit.store.acquire(spec({ a: 2 }, "x"), kit.facts());
  assert.equal(one, two);
  assert.notEqual(one, other);
  assert.equal(setups, 2);
  kit.store.release(one);
  assert.equal(closes, 0);
  kit.store.release(two);
  assert.equal(closes, 1);
  assert.equal(kit.store.list().length, 1);
  await kit.close();
  assert.equal(closes, 2);
});

test("an instance that looked at the consumers is set up anew when they change, another is not", async () => {
  const looks = definePlugin({
    name: "looks",
    stage: "authn",
    setup: (_config, host) => ({ request: () => void host.consumers.byName("a") }),
  });
  const blind = definePlugin({ name: "blind", stage: "authn", setup: () => ({ request() {} }) });
  const before = new PluginKit({ consumers: [] });
  const facts = before.facts();
  const changed = new PluginKit({
    consumers: [{ name: "a", keys: [], plan: null, groups: [] }],
  }).facts();
  const base = {
    options: undefined,
    mode: "gateway",
    route: null,
    stage: null,
    when: null,
    onError: null,
    before: [],
    after: [],
  } as const;
  await before.setUp([]);
  const first = await before.store.acquire({ ...base, definition: looks, id: "looks" }, facts);
  const plain = await before.store.acquire({ ...base, definition: blind, id: "blind" }, facts);
  const x = before.exchange();
  void first.hooks.request!(x.req, x);
  const again = await before.store.acquire({ ...base, definition: looks, id: "looks" }, facts);
  assert.equal(again, first);
  const anew = await before.store.acquire({ ...base, definition: looks, id: "looks" }, changed);
  assert.notEqual(anew, first);
  const same = await before.store.acquire({ ...base, definition: blind, id: "blind" }, changed);
  assert.equal(same, plain);
  await before.close();
});

test("wrong options are issues with their place; a setup that throws names the plugin", async () => {
  const strict = definePlugin({
    name: "strict",
    stage: "authn",
    config: z.strictObject({ size: z.number() }),
    setup: () => ({}),
  });
  await assert.rejects(createKit([{ use: strict, options: { size: "x", sise: 1 } }]), (error) => {
    assert(error instanceof SetupError);
    assert.equal(error.part, "options");
    assert.deepEqual(
      error.issues.map(({ path }) => path.join(".")),
      ["size", "sise"],
    );
    return true;
  });
  const breaks = definePlugin({
    name: "breaks",
    stage: "authn",
    setup: () => {
      throw new Error("no such file");
    },
  });
  await assert.rejects(createKit([{ use: breaks }]), /plugin breaks: setup failed: no such file/);
});

test("a condition that cannot be compiled is refused with its reason", async () => {
  const use = plugin("a", "authn");
  await assert.rejects(createKit([{ use, when: "metod == 1" }]), /Unknown variable: metod/);
  await assert.rejects(createKit([{ use, when: "path" }]), /is string, not true or false/);
  await assert.rejects(createKit([{ use, when: "path ==" }]), SetupError);
});

test("timers of an instance end with it", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  let ticks = 0;
  const ticking = definePlugin({
    name: "ticking",
    stage: "observe",
    setup(_config, host) {
      host.every(100, () => void ticks++);
      return {};
    },
  });
  const kit = await createKit([{ use: ticking }]);
  t.mock.timers.tick(100);
  assert.equal(ticks, 1);
  await kit.close();
  t.mock.timers.tick(1000);
  assert.equal(ticks, 1);
});
