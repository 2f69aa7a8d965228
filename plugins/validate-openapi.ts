/** Judges requests by an OpenAPI document. */

import { problem } from "../proxy/pipeline/plugin.ts";
import { Schemas } from "./json-schema.ts";
import { readOpenApi } from "./openapi.ts";
import { Operations } from "./openapi-match.ts";
import {
  applyStyles,
  cookieValues,
  headerValues,
  isJson,
  mediaTypeOf,
  queryValues,
} from "./request-values.ts";
import type { Check, Wrong } from "./json-schema.ts";
import type { Body, Operation, Parameter } from "./openapi.ts";
import type { Values } from "./request-values.ts";
import type { BodyCheck, Judge } from "./validate.ts";
import type { RequestHead } from "../proxy/pipeline/plugin.ts";

/** Name of the document for `$ref`s. */
const name = "weft:openapi";
/** Time for compiling schemas at the start, so that a mistake is met there; what is left is compiled when first asked for. */
const compileMs = 2000;
const places = { query: "query", header: "headers", path: "path", cookie: "cookies" } as const;

/** Throws an Error that says what is wrong with the document. */
export function judgeOpenApi(text: string): Judge {
  const { document, operations } = readOpenApi(text);
  const [strict, lenient] = [false, true].map((coerce) => {
    const schemas = new Schemas({ coerce, draft7: false });
    schemas.add(document, name);
    return schemas;
  }) as [Schemas, Schemas];
  const judges = new Operations<Judging>();
  const all: Judging[] = [];
  for (const operation of operations) {
    const judging = new Judging(operation, strict, lenient);
    all.push(judging);
    for (const base of new Set(["", ...operation.servers.map(pathOf)]))
      judges.add(base, operation, judging);
  }
  const untilMs = performance.now() + compileMs;
  for (const judging of all) {
    if (performance.now() > untilMs) break;
    judging.compile();
  }
  return (req) => {
    const found = judges.find(req.method, req.path);
    if (found === null)
      return problem("no-route", 404, `the API's document has no path ${req.path.slice(0, 200)}`);
    if (!("value" in found)) {
      // a browser asks before it asks
      if (req.method === "OPTIONS") return null;
      const allow = found.join(", ");
      const detail = `the API's document takes ${allow} here, not ${req.method}`;
      return problem("method-not-allowed", 405, detail, { allow });
    }
    return found.value.judge(req, found.path);
  };
}

/** Path of a server's URL, without a slash at its end. */
export function pathOf(server: string): string {
  const path = URL.canParse(server) ? new URL(server).pathname : server.split(/[?#]/)[0]!;
  return path.replace(/\/+$/, "");
}

/** One operation and its compiled schemas. */
class Judging {
  private readonly operation: Operation;
  private readonly strict: Schemas;
  private readonly lenient: Schemas;
  private readonly checks = new Map<string, Check>();

  constructor(operation: Operation, strict: Schemas, lenient: Schemas) {
    this.operation = operation;
    this.strict = strict;
    this.lenient = lenient;
  }

  /** Throws when a schema cannot be compiled. */
  compile(): void {
    const { parameters, body, method, path } = this.operation;
    try {
      for (const { schema } of parameters)
        if (schema !== null) this.check(this.lenient, schema, true);
      for (const [type, schema] of body?.content ?? [])
        if (schema !== null && isJson(type)) this.check(this.strict, schema, false);
    } catch (error) {
      throw new Error(`${method} ${path}: ${error instanceof Error ? error.message : ""}`);
    }
  }

  judge(req: RequestHead, path: Readonly<Record<string, string>>) {
    const { parameters, body } = this.operation;
    const wrong: Wrong[] = [];
    for (const kind of ["path", "query", "header", "cookie"] as const) {
      const own = parameters.filter((one) => one.in === kind);
      if (own.length > 0) this.judgeParameters(own, valuesOf(kind, req, path), wrong);
    }
    return { wrong, body: body === null ? null : this.judgeBody(req, body, wrong) };
  }

  private judgeParameters(own: readonly Parameter[], values: Values, wrong: Wrong[]): void {
    applyStyles(values, own);
    for (const { name: field, in: kind, isRequired, schema } of own) {
      const place = places[kind];
      const key = kind === "header" ? field.toLowerCase() : field;
      // OpenAPI has these three described elsewhere
      if (kind === "header" && /^(accept|content-type|authorization)$/.test(key)) continue;
      if (values[key] === undefined) {
        if (isRequired) wrong.push({ in: place, field: `/${field}`, message: "is missing" });
      } else if (schema !== null) {
        // in an object of its own, where a text may become a number
        const check = this.check(this.lenient, schema, true);
        for (const one of check({ value: values[key] }))
          wrong.push({
            in: place,
            field: `/${field}${one.field.slice("/value".length)}`,
            message: one.message,
          });
      }
    }
  }

  private judgeBody(req: RequestHead, body: Body, wrong: Wrong[]): BodyCheck | null {
    const { isRequired, content } = body;
    if (req.framing === "none") return { isRequired, kind: "json", check: null };
    const type = mediaTypeOf(req);
    const key = [type, `${type.split("/")[0]}/*`, "*/*"].find((one) => content.has(one));
    if (key === undefined) {
      if (content.size > 0) {
        const message = `must be one of ${[...content.keys()].join(", ")}`;
        wrong.push({ in: "headers", field: "/content-type", message });
      }
      return null;
    }
    const schema = content.get(key)!;
    const isForm = type === "application/x-www-form-urlencoded";
    if (schema === null || (!isForm && !isJson(type))) return null;
    const check = this.check(isForm ? this.lenient : this.strict, schema, false);
    return { isRequired, kind: isForm ? "form" : "json", check };
  }

  private check(schemas: Schemas, pointer: string, isInside: boolean): Check {
    let check = this.checks.get(pointer);
    if (check === undefined) {
      const $ref = `${name}#${encodeURI(pointer)}`;
      check = schemas.compile(isInside ? { properties: { value: { $ref } } } : { $ref });
      this.checks.set(pointer, check);
    }
    return check;
  }
}

function valuesOf(
  kind: Parameter["in"],
  req: RequestHead,
  path: Readonly<Record<string, string>>,
): Values {
  switch (kind) {
    case "path":
      return { ...path };
    case "query":
      return queryValues(req.query);
    case "header":
      return headerValues(req);
    case "cookie":
      return cookieValues(req);
  }
}
