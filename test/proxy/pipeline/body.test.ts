import assert from "node:assert/strict";
import { test } from "node:test";
import { definePlugin, reply } from "../../../proxy/pipeline/plugin.ts";
import type {
  AnyPlugin,
  BodyMode,
  BufferHook,
  ResponseHead,
  StreamHook,
} from "../../../proxy/pipeline/plugin.ts";
import { createKit } from "../../support/plugin-kit.ts";

function onResponse(
  name: string,
  hook: StreamHook | BufferHook,
  mode: BodyMode<ResponseHead> = {},
): AnyPlugin {
  return definePlugin({
    name,
    stage: "transform",
    body: { response: mode },
    setup: () => ({ responseBody: hook }),
  });
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

test("chunks pass the plugins in reverse order, each after the one before", async (t) => {
  const wrap =
    (mark: string): StreamHook =>
    (chunk, _ctx, last) =>
      Buffer.from(last ? `/${mark}` : `<${mark}${text(chunk)}>`);
  const kit = await createKit(
    [{ use: onResponse("a", wrap("a")) }, { use: onResponse("b", wrap("b")) }],
    { upstream: () => ({ body: ["1", "2"] }) },
  );
  t.after(() => kit.close());
  assert.equal((await kit.request()).body.toString(), "<a<b1>><a<b2>><a/b>/a");
});

test("asynchronous hooks get their chunks one at a time, and chunks that still hold their bytes", async (t) => {
  let running = 0;
  let most = 0;
  const slow: StreamHook = async (chunk) => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return Buffer.from(text(chunk).toUpperCase());
  };
  const kit = await createKit([{ use: onResponse("slow", slow) }], {
    upstream: () => ({ body: ["a", "b", "c"] }),
  });
  t.after(() => kit.close());
  assert.equal((await kit.request()).body.toString(), "ABC");
  assert.equal(most, 1);
});

test("a chunk that a promise passes on unchanged is the one that came", async (t) => {
  const passes: StreamHook = () => new Promise((resolve) => setImmediate(resolve, undefined));
  const kit = await createKit([{ use: onResponse("passes", passes) }], {
    upstream: () => ({ body: ["a", "b"] }),
  });
  t.after(() => kit.close());
  assert.equal((await kit.request()).body.toString(), "ab");
});

test("a buffering hook sees and replaces the whole body, and stale digests go", async (t) => {
  const hook: BufferHook = (body) => body.setJson({ ...(body.json() as object), seen: true });
  const kit = await createKit([{ use: onResponse("json", hook, { buffer: "1KiB" }) }], {
    upstream: () => ({ headers: { etag: '"1"' }, body: ['{"a"', ":1}"] }),
  });
  t.after(() => kit.close());
  const answer = await kit.request();
  assert.equal(answer.body.toString(), '{"a":1,"seen":true}');
  assert.equal(answer.headers["etag"], undefined);
});

test("a body that a hook leaves alone keeps its digests", async (t) => {
  const kit = await createKit([{ use: onResponse("looks", () => undefined, { buffer: 100 }) }], {
    upstream: () => ({ headers: { etag: '"1"' }, body: "x" }),
  });
  t.after(() => kit.close());
  assert.equal((await kit.request()).headers["etag"], '"1"');
});

for (const body of ["123456", ["123", "456"]]) {
  const what = typeof body === "string" ? "announced" : "growing";
  test(`a response ${what} over the buffer is a 502, and later hooks see that`, async (t) => {
    const marks = definePlugin({
      name: "marks",
      stage: "admit",
      setup: () => ({ response: (res) => res.headers.append("x-mark", "1") }),
    });
    const kit = await createKit(
      [{ use: marks }, { use: onResponse("small", () => undefined, { buffer: 5 }) }],
      { upstream: () => ({ body }) },
    );
    t.after(() => kit.close());
    const answer = await kit.request();
    assert.equal(answer.status, 502);
    assert.equal(answer.problem?.["code"], "upstream-invalid");
    assert.equal(answer.headers["x-mark"], "1");
  });

  test(`a response ${what} over the buffer passes by when told to`, async (t) => {
    const hook: BufferHook = (held) => held.set("changed");
    const mode = { buffer: 5, overflow: "bypass" } as const;
    const kit = await createKit([{ use: onResponse("small", hook, mode) }], {
      upstream: () => ({ body }),
    });
    t.after(() => kit.close());
    assert.equal((await kit.request()).body.toString(), "123456");
  });

  test(`a request ${what} over the buffer is a 413`, async (t) => {
    const small = definePlugin({
      name: "small",
      stage: "transform",
      body: { request: { buffer: 5 } },
      setup: () => ({ requestBody: () => undefined }),
    });
    const kit = await createKit([{ use: small }]);
    t.after(() => kit.close());
    const answer = await kit.request({ method: "POST", body });
    assert.equal(answer.status, 413);
    assert.equal(answer.seen, null);
  });
}

test("a request body hook may reply", async (t) => {
  const refuse = definePlugin({
    name: "refuse",
    stage: "authz",
    body: { request: { buffer: 100 } },
    setup: () => ({ requestBody: async () => reply(403, "bad words") }),
  });
  const kit = await createKit([{ use: refuse }]);
  t.after(() => kit.close());
  assert.equal((await kit.request({ method: "POST", body: "x" })).status, 403);
});

test("a body is left alone when its condition does not hold, or when there is none", async (t) => {
  let calls = 0;
  const hook: StreamHook = (_chunk, _ctx, last) => {
    calls++;
    return last ? undefined : Buffer.from("changed");
  };
  const json = onResponse("json", hook, {
    when: (res) => res.headers.get("content-type") === "application/json",
  });
  const kit = await createKit([{ use: json }], { upstream: () => ({ body: "plain" }) });
  t.after(() => kit.close());
  assert.equal((await kit.request()).body.toString(), "plain");
  assert.equal((await kit.request({ method: "HEAD" })).status, 200);
  assert.equal(calls, 0);
});

test("a hook that throws fails closed with 500, and open with the bytes as they came", async (t) => {
  const hook: StreamHook = () => {
    throw new Error("boom");
  };
  const closed = await createKit([{ use: onResponse("bad", hook) }]);
  const open = await createKit([{ use: onResponse("bad", hook), onError: "open" }]);
  t.after(() => Promise.all([closed.close(), open.close()]));
  assert.equal((await closed.request()).problem?.["code"], "plugin-error");
  assert.equal((await open.request()).body.toString(), "ok");
});
