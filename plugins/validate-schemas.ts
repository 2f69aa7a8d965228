/** Judges requests by schemas that stand in the configuration. */

import { isDraft7, Schemas } from "./json-schema.ts";
import { headerValues, isJson, mediaTypeOf, queryValues } from "./request-values.ts";
import type { Check, Wrong } from "./json-schema.ts";
import type { BodyCheck, Judge } from "./validate.ts";

type Schema = Readonly<Record<string, unknown>> | boolean;

/** Methods whose requests have a body by their nature: without one the schema is not met. */
const withBody = new Set(["POST", "PUT", "PATCH"]);

/** Throws when a schema cannot be compiled. */
export function judgeSchemas(options: {
  readonly body?: Schema | undefined;
  readonly query?: Schema | undefined;
  readonly headers?: Schema | undefined;
}): Judge {
  const body = compile("body", options.body);
  const query = compile("query", options.query);
  const headers = compile("headers", options.headers);
  const required: BodyCheck = { isRequired: true, kind: "json", check: body };
  const optional: BodyCheck = { ...required, isRequired: false };
  return (req) => {
    const wrong: Wrong[] = [];
    if (query !== null)
      for (const one of query(queryValues(req.query))) wrong.push({ in: "query", ...one });
    if (headers !== null)
      for (const one of headers(headerValues(req))) wrong.push({ in: "headers", ...one });
    if (body === null) return { wrong, body: null };
    const type = mediaTypeOf(req);
    if (req.framing !== "none" && type !== "" && !isJson(type)) {
      wrong.push({ in: "headers", field: "/content-type", message: "must be application/json" });
      return { wrong, body: null };
    }
    return { wrong, body: withBody.has(req.method) ? required : optional };
  };
}

function compile(part: "body" | "query" | "headers", schema: Schema | undefined): Check | null {
  if (schema === undefined) return null;
  try {
    const written = part === "headers" ? lowerNames(schema) : schema;
    return new Schemas({ coerce: part !== "body", draft7: isDraft7(schema) }).compile(
      written as object,
    );
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`the schema of ${part} cannot be used: ${reason}`);
  }
}

/** Field names know no case. */
function lowerNames(schema: Schema): Schema {
  if (typeof schema === "boolean") return schema;
  const { properties, required } = schema;
  return {
    ...schema,
    ...(typeof properties === "object" && properties !== null
      ? {
          properties: Object.fromEntries(
            Object.entries(properties).map(([name, value]) => [name.toLowerCase(), value]),
          ),
        }
      : {}),
    ...(Array.isArray(required)
      ? { required: required.map((name) => String(name).toLowerCase()) }
      : {}),
  };
}
