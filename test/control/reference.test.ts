import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, it } from "node:test";
import { parse } from "yaml";
import { configKeys, jsonSchema, type JsonSchema } from "../../control/json-schema.ts";
import { configurationPage } from "../../control/reference.ts";

describe("docs/configuration.md", () => {
  it("is what scripts/configuration-docs.ts writes", async () => {
    const page = await readFile(new URL("../../docs/configuration.md", import.meta.url), "utf8");
    assert.equal(page, configurationPage(jsonSchema()), "run: node scripts/configuration-docs.ts");
  });
});

describe("the JSON Schema", () => {
  it("is plain JSON and knows every top-level key of the contract", () => {
    assert.deepEqual(JSON.parse(JSON.stringify(jsonSchema())), jsonSchema());
    const keys = [
      "gateway",
      "mesh",
      "services",
      "routes",
      "plugins",
      "policies",
      "consumers",
      "plans",
      "stores",
      "access",
      "admin",
      "observe",
      "drainTimeout",
      "workers",
      "control",
    ];
    assert.deepEqual([...configKeys.keysAt([])].toSorted(), keys.toSorted());
  });

  it("refuses unknown keys in every mapping of its own", () => {
    const visit = (schema: JsonSchema, path: string): void => {
      if (
        schema.properties !== undefined &&
        schema["x-weft-not-yet"] !== true &&
        !/plugins\[\]/.test(path)
      )
        assert.equal(schema.additionalProperties, false, path);
      for (const [key, value] of Object.entries(schema.properties ?? {}))
        visit(value, `${path}.${key}`);
      if (schema.items !== undefined) visit(schema.items, `${path}[]`);
      for (const branch of schema.anyOf ?? []) visit(branch, path);
    };
    visit(jsonSchema(), "");
  });

  it("lets a variable stand where a number or a truth value does", () => {
    const port =
      jsonSchema().properties?.["gateway"]?.properties?.["listeners"]?.items?.properties?.["port"];
    assert.deepEqual(port?.anyOf?.[1], { type: "string", pattern: "^\\$\\{" });
  });

  it("lets a variable stand for any text: no pattern of its own refuses one", () => {
    const visit = (schema: JsonSchema, path: string): void => {
      if (schema.pattern !== undefined && schema.type === "string")
        assert.match("${VAR}", new RegExp(schema.pattern), path);
      for (const [key, value] of Object.entries(schema.properties ?? {}))
        visit(value, `${path}.${key}`);
      if (schema.items !== undefined) visit(schema.items, `${path}[]`);
      if (typeof schema.additionalProperties === "object")
        visit(schema.additionalProperties, `${path}.*`);
      for (const branch of schema.anyOf ?? []) visit(branch, path);
    };
    visit(jsonSchema(), "");
  });

  it("finds the keys of a place through lists, names and alternatives", () => {
    assert.ok(configKeys.keysAt(["routes", 0, "match"]).includes("headers"));
    assert.ok(configKeys.keysAt(["routes", 0, "match", 1, "path"]).includes("template"));
    assert.ok(configKeys.keysAt(["services", "any", "policy", "retry"]).includes("attempts"));
    assert.ok(configKeys.keysAt(["routes", 0, "plugins", 0]).includes("when"));
    assert.deepEqual(configKeys.keysAt(["nowhere", 5]), []);
  });

  it("has the examples of the page in it", async () => {
    const page = await readFile(new URL("../../docs/configuration.md", import.meta.url), "utf8");
    for (const [, text] of page.matchAll(/```yaml\n([\s\S]*?)```/g)) {
      for (const key of Object.keys(parse(text ?? "") as object))
        assert.ok(configKeys.keysAt([]).includes(key), key);
    }
  });
});
