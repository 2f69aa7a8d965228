/** Compiles JSON Schemas (ajv), and says in words which fields are wrong. */

import { Ajv } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import type { ErrorObject, Options, ValidateFunction } from "ajv";
import formatsModule from "ajv-formats";
import { RE2JS } from "re2js";

/** One wrong field. */
export interface Wrong {
  readonly in: "body" | "query" | "headers" | "path" | "cookies";
  /** A JSON pointer into the body, the name of a parameter or field; empty: the whole. */
  readonly field: string;
  readonly message: string;
}

/** Empty: the value is right. It may be changed where texts stand for numbers (`coerce`). */
export type Check = (value: unknown, isLarge?: boolean) => readonly Omit<Wrong, "in">[];

/** More are not told. */
const wrongLimit = 100;

/** Schemas that may refer to each other, of one document. */
export class Schemas {
  private readonly all: Ajv;
  private readonly first: Ajv;

  /** @param options `coerce`: texts of queries and headers stand for numbers, booleans and lists */
  constructor(options: { readonly coerce: boolean; readonly draft7: boolean }) {
    const Kind = options.draft7 ? Ajv : Ajv2020;
    const shared: Options = {
      strict: false,
      validateSchema: !options.coerce,
      coerceTypes: options.coerce ? "array" : false,
      // a pattern that a stranger's text could make backtrack would stop the worker
      code: { regExp: linear as never },
      logger: false,
    };
    const formats = formatsModule as unknown as (ajv: Ajv) => void;
    this.all = new Kind({ ...shared, allErrors: true });
    this.first = new Kind(shared);
    formats(this.all);
    formats(this.first);
  }

  /** Makes a document known under a name for `$ref`s. Throws when it cannot be used. */
  add(document: object, name: string): void {
    for (const ajv of [this.all, this.first]) ajv.addSchema(document, name, false, false);
  }

  /** Throws when the schema cannot be compiled. Every wrong field is told, of a large value only the first. */
  compile(schema: object | boolean): Check {
    const all = this.all.compile(schema);
    let first: ValidateFunction | null = null;
    return (value, isLarge = false) => {
      const validate = isLarge ? (first ??= this.first.compile(schema)) : all;
      if (validate(value)) return [];
      return (validate.errors ?? []).slice(0, wrongLimit).map(inWords).map(shorten);
    };
  }
}

/** True for schemas of the drafts before 2019-09. */
export function isDraft7(schema: unknown): boolean {
  const dialect = (schema as { $schema?: unknown } | null)?.$schema;
  return typeof dialect === "string" && /draft-0[67]/.test(dialect);
}

function inWords({ instancePath, keyword, params, message }: ErrorObject): Omit<Wrong, "in"> {
  const at = (name: unknown): string => `${instancePath}/${escapePointer(String(name))}`;
  const given = params as Readonly<Record<string, unknown>>;
  switch (keyword) {
    case "required":
      return { field: at(given["missingProperty"]), message: "is missing" };
    case "dependentRequired":
    case "dependencies":
      return {
        field: at(given["missingProperty"]),
        message: `is missing beside ${String(given["property"])}`,
      };
    case "const":
      return {
        field: instancePath,
        message: `must be ${JSON.stringify(given["allowedValue"]).slice(0, 200)}`,
      };
    case "additionalProperties":
      return { field: at(given["additionalProperty"]), message: "is not known here" };
    case "unevaluatedProperties":
      return { field: at(given["unevaluatedProperty"]), message: "is not known here" };
    case "enum": {
      const allowed = JSON.stringify(given["allowedValues"]).slice(1, -1).slice(0, 200);
      return { field: instancePath, message: `must be one of ${allowed}` };
    }
    default:
      return { field: instancePath, message: message ?? "is wrong" };
  }
}

/** Names that a stranger made up come back short. */
function shorten({ field, message }: Omit<Wrong, "in">): Omit<Wrong, "in"> {
  return { field: field.length > 200 ? `${field.slice(0, 199)}…` : field, message };
}

function escapePointer(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

/** RE2 where it can; what only a backtracking engine understands (look-around) is left to it. */
function linear(pattern: string, flags: string): { test(text: string): boolean } {
  try {
    const compiled = RE2JS.compile(pattern);
    // its text is what the compiler knows it by
    return Object.assign(Object.create({ toString: () => `/${pattern}/` }) as object, {
      test: (text: string) => compiled.matcher(text).find(),
    });
  } catch {
    return new RegExp(pattern, flags);
  }
}
