import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { readOpenApi } from "../../plugins/openapi.ts";
import { createKit } from "../support/plugin-kit.ts";
import type { KitAnswer, KitRequest, PluginKit } from "../support/plugin-kit.ts";

const folder = import.meta.dirname;

async function kitOf(
  t: { after(run: () => Promise<void>): void },
  options: object,
): Promise<PluginKit> {
  const kit = await createKit([{ use: "validate", options }], { baseDir: folder });
  t.after(() => kit.close());
  return kit;
}

/** Where the answer says that something is wrong, such as `body/name`. */
function wrongIn({ status, problem }: KitAnswer): string[] {
  assert.equal(status, 400);
  assert.equal(problem?.["code"], "bad-request");
  const errors = problem["errors"] as { in: string; field: string; message: string }[];
  for (const { field } of errors.slice(0, 20))
    assert(String(problem["detail"]).includes(field.slice(0, 100)));
  return errors.map(({ in: place, field }) => `${place}${field}`).toSorted();
}

const json = (value: unknown, more: KitRequest = {}): KitRequest => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(value),
  ...more,
});

test("every wrong field of body, query and headers is named in one answer", async (t) => {
  const kit = await kitOf(t, {
    body: {
      type: "object",
      required: ["item", "count"],
      properties: { item: { type: "string" }, count: { type: "integer" }, at: { format: "date" } },
      additionalProperties: false,
    },
    query: { properties: { page: { type: "integer", minimum: 1 } }, required: ["sort"] },
    headers: { properties: { "X-Tenant": { pattern: "^[a-z]+$" } }, required: ["X-Tenant", "X-B"] },
  });
  const headers = { "content-type": "application/json; charset=utf-8", "x-tenant": "A1" };
  const answer = await kit.request(
    json({ item: 7, at: "yesterday", "a/b": 1 }, { path: "/?page=0", headers }),
  );
  const body = ["body/at", "body/a~1b", "body/count", "body/item"].toSorted();
  const rest = ["headers/x-b", "headers/x-tenant", "query/page", "query/sort"];
  assert.deepEqual(wrongIn(answer), [...body, ...rest]);
  assert.equal(answer.seen, null);
  const right = json(
    { item: "x", count: 2 },
    { path: "/?page=2&sort=a", headers: { ...headers, "x-tenant": "abc", "x-b": "1" } },
  );
  const passed = await kit.request(right);
  assert.equal(passed.status, 200);
  assert.equal(passed.seen?.body, right.body);
});

test("texts in a query stand for numbers and lists; in a body they do not", async (t) => {
  const schema = {
    properties: { n: { type: "integer" }, all: { type: "array", items: { type: "boolean" } } },
  };
  const kit = await kitOf(t, { query: schema, body: schema });
  assert.equal((await kit.request({ path: "/?n=5&all=true&all=false" })).status, 200);
  assert.equal((await kit.request({ path: "/?all=true" })).status, 200);
  assert.deepEqual(wrongIn(await kit.request({ path: "/?n=5x&all=maybe" })), [
    "query/all/0",
    "query/n",
  ]);
  assert.deepEqual(wrongIn(await kit.request(json({ n: "5" }))), ["body/n"]);
});

test("a body that is no JSON, is of another type, or is not there", async (t) => {
  const kit = await kitOf(t, { body: { type: "object" } });
  const text = { "content-type": "text/plain" };
  assert.deepEqual(wrongIn(await kit.request({ ...json(1), body: "{" })), ["body"]);
  assert.deepEqual(wrongIn(await kit.request({ method: "POST", headers: text, body: "x" })), [
    "headers/content-type",
  ]);
  assert.deepEqual(wrongIn(await kit.request({ method: "POST" })), ["body"]);
  assert.equal((await kit.request({ method: "GET" })).status, 200);
  const large = await kit.request(json({ x: "x".repeat(1024 * 1024) }));
  assert.equal(large.status, 413);
});

test("a pattern that would make a backtracking engine hang takes linear time", async (t) => {
  const kit = await kitOf(t, { query: { properties: { a: { pattern: "^(a+)+$" } } } });
  assert.deepEqual(wrongIn(await kit.request({ path: `/?a=${"a".repeat(5000)}!` })), ["query/a"]);
});

test("of a large body with a mistake in every item only the first is told", async (t) => {
  const kit = await kitOf(t, { body: { items: { type: "string" } } });
  const answer = await kit.request(json(Array.from({ length: 200_000 }, () => 1)));
  assert.equal(wrongIn(answer).length, 1);
  const small = await kit.request(json(Array.from({ length: 1000 }, () => 1)));
  assert.equal(wrongIn(small).length, 100);
  // names that a stranger made up come back short
  const kit2 = await kitOf(t, { body: { additionalProperties: false } });
  const long = await kit2.request(json({ ["x".repeat(60_000)]: 1 }));
  assert.deepEqual(wrongIn(long), [`body/${"x".repeat(198)}…`]);
  assert(long.headers["proxy-status"]!.length < 1000);
});

test("whatever the body, the answer is 200 or 400", async (t) => {
  const kit = await kitOf(t, { body: { type: "object", properties: { a: { type: "array" } } } });
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.json(), fc.string()), async (body) => {
      const { status } = await kit.request({ ...json(0), body });
      assert(status === 200 || status === 400, String(status));
    }),
    { numRuns: 100 },
  );
});

test("schemas of draft 7 are read as such", async (t) => {
  const $schema = "http://json-schema.org/draft-07/schema#";
  const kit = await kitOf(t, {
    body: { $schema, items: [{ type: "string" }, { type: "number" }] },
  });
  assert.equal((await kit.request(json(["a", 1]))).status, 200);
  assert.deepEqual(wrongIn(await kit.request(json([1, "a"]))), ["body/0", "body/1"]);
});

const trace = { "x-trace": "abcd" };

test("an OpenAPI document says what is right: parameters", async (t) => {
  const kit = await kitOf(t, { openapi: "petstore.yaml" });
  const get = (target: string, headers: Record<string, string> = trace) =>
    kit.request({ path: target, headers });
  assert.equal((await get("/v1/pets?limit=10&tags=cat,dog&born=2020-02-29")).status, 200);
  assert.equal((await get("/pets")).status, 200);
  assert.deepEqual(wrongIn(await get("/v1/pets?limit=0&tags=cat,cow&born=2021-02-29", {})), [
    "headers/X-Trace",
    "query/born",
    "query/limit",
    "query/tags/1",
  ]);
  assert.equal((await get("/v1/pets/7")).status, 200);
  assert.equal((await get("/v1/pets/mine")).status, 200);
  assert.deepEqual(wrongIn(await get("/v1/pets/seven")), ["path/pet-id"]);
  assert.equal((await kit.request({ method: "HEAD", path: "/v1/pets/7" })).status, 200);
});

test("an OpenAPI document says what is right: bodies", async (t) => {
  const kit = await kitOf(t, { openapi: "petstore.yaml" });
  const post = (pet: unknown, more: KitRequest = {}) =>
    kit.request(
      json(pet, {
        path: "/v1/pets",
        headers: { ...trace, "content-type": "application/json" },
        ...more,
      }),
    );
  const owner = { email: "a@example.com" };
  assert.equal((await post({ name: "Rex", age: 1, nick: null, owner, children: [] })).status, 200);
  const wrong = await post({ name: "rex", age: 0, owner: { email: "a" }, children: [{}], x: 1 });
  assert.deepEqual(wrongIn(wrong), [
    "body/age",
    "body/children/0/age",
    "body/children/0/name",
    "body/name",
    "body/owner/email",
    "body/x",
  ]);
  assert.deepEqual(wrongIn(await kit.request({ method: "POST", path: "/pets", headers: trace })), [
    "body",
  ]);
  const text = { ...trace, "content-type": "text/plain" };
  assert.deepEqual(wrongIn(await post({}, { headers: text })), ["headers/content-type"]);
  const photo = { method: "PUT", headers: { "content-type": "image/jpeg" }, body: "\xff" };
  assert.equal((await kit.request({ ...photo, path: "/photos/aaa.jpg" })).status, 200);
  assert.deepEqual(wrongIn(await kit.request({ ...photo, path: "/photos/b.jpg" })), ["path/name"]);
});

test("what the document does not describe is 404, another method 405", async (t) => {
  const kit = await kitOf(t, { openapi: "petstore.yaml" });
  assert.equal((await kit.request({ path: "/v1/dogs" })).status, 404);
  const other = await kit.request({ method: "DELETE", path: "/v1/pets" });
  assert.equal(other.status, 405);
  assert.equal(other.headers["allow"], "GET, POST");
  assert.equal((await kit.request({ method: "OPTIONS", path: "/v1/pets" })).status, 200);
});

test("a document of 3.1 as JSON is read", () => {
  const { operations } = readOpenApi(
    JSON.stringify({ openapi: "3.1.0", info: {}, paths: { "/a": { get: {}, post: {} } } }),
  );
  assert.deepEqual(
    operations.map(({ method }) => method),
    ["GET", "POST"],
  );
});

test("what JSON Schema has since OpenAPI 3.1 holds: constants, lists of types, keywords beside references", async (t) => {
  const kit = await kitOf(t, { openapi: "openapi-31.yaml" });
  const headers = { "content-type": "application/json" };
  const post = (order: unknown, path = "/v2/orders") => kit.request(json(order, { path, headers }));
  const good = { kind: "order", place: [1, 2] };
  for (const more of [
    {},
    { note: null },
    { note: "x" },
    { item: { sku: "a", count: 9 } },
    { gift: true, card: "hello" },
  ])
    assert.equal((await post({ ...good, ...more })).status, 200, JSON.stringify(more));
  for (const [order, wrong] of [
    [{ ...good, kind: "Order" }, ["body/kind"]],
    [{ ...good, note: 5 }, ["body/note"]],
    [{ ...good, item: { sku: "a" } }, ["body/item"]],
    [{ ...good, item: { sku: "a", count: 10 } }, ["body/item/count"]],
    [{ ...good, place: [1, 2, 3] }, ["body/place"]],
    [{ ...good, place: [1, "2"] }, ["body/place/1"]],
    [{ ...good, card: "hello!" }, ["body/card"]],
    [{ ...good, gift: true }, ["body/card"]],
    [{ ...good, other: 1 }, ["body/other"]],
    [{ place: [1, 2] }, ["body/kind"]],
  ] as const) {
    const answer = await post(order);
    assert.equal(answer.status, 400, JSON.stringify(order));
    assert.deepEqual(wrongIn(answer), wrong, JSON.stringify(order));
  }
  assert.deepEqual(wrongIn(await post(good, "/v2/orders?page=0")), ["query/page"]);
  assert.equal((await kit.request({ path: "/v2/orders/x" })).status, 400);
  const id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
  assert.equal((await kit.request({ path: `/v2/orders/${id}` })).status, 200);
});

test("a document that cannot be used is refused when the configuration loads", async () => {
  const text = readFileSync(path.join(folder, "petstore.yaml"), "utf8");
  assert.throws(() => readOpenApi("swagger: '2.0'"), /version 3\.0 or 3\.1/);
  assert.throws(() => readOpenApi("{"), /not readable/);
  assert.throws(
    () => readOpenApi(text.replace("parameters/Trace", "parameters/Trice")),
    /Trice" leads nowhere/,
  );
  await assert.rejects(
    createKit([{ use: "validate", options: { openapi: "nowhere.yaml" } }], { baseDir: folder }),
    /nowhere\.yaml: ENOENT/,
  );
  for (const options of [{}, { body: {}, openapi: "x" }, { body: 5 }])
    await assert.rejects(createKit([{ use: "validate", options }]), { part: "options" });
  await assert.rejects(
    createKit([{ use: "validate", options: { body: { $ref: "#/nowhere" } } }]),
    /schema of body cannot be used/,
  );
});
