/** The JSON Schema of the configuration, for editors and `weft schema`, and the keys known at a place. */

import { z } from "zod";
import type { ConfigPath } from "./config.ts";
import type { KnownKeys } from "./load/issues.ts";
import { configSchema } from "./schema.ts";
import { instanceSchema } from "./schema/route.ts";

/** The parts of JSON Schema (2020-12) that are used here. */
export interface JsonSchema {
  $schema?: string;
  $id?: string;
  title?: string;
  description?: string;
  type?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  pattern?: string;
  examples?: unknown[];
  minimum?: number;
  maximum?: number;
  minItems?: number;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean | JsonSchema;
  propertyNames?: JsonSchema;
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  deprecated?: boolean;
  "x-weft-not-yet"?: boolean;
  "x-weft-expected"?: string;
  "x-weft-later"?: string[];
}

let made: JsonSchema | null = null;

/** Draft 2020-12. Wherever a value stands, `"${VAR}"` may stand too. What is not built yet is marked `x-weft-not-yet`. */
export function jsonSchema(): JsonSchema {
  made ??= {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "weft configuration",
    ...tidy(toJson(configSchema)),
  };
  return made;
}

/** The keys that may stand beside a plugin's name. */
export function pluginSchema(): JsonSchema {
  return tidy(toJson(instanceSchema));
}

/** What may stand where in the configuration. */
export const configKeys: KnownKeys = {
  keysAt: (path) => keysIn(jsonSchema(), path).filter((key) => key !== "$schema"),
  placeBelow: (path, key) => placeIn(jsonSchema(), path, key),
};

/** The same for any other schema. */
export function keysOf(schema: z.ZodType): KnownKeys {
  let json: JsonSchema | null = null;
  const get = (): JsonSchema => (json ??= toJson(schema));
  return {
    keysAt: (path) => keysIn(get(), path),
    placeBelow: (path, key) => placeIn(get(), path, key),
  };
}

function keysIn(schema: JsonSchema, path: ConfigPath): readonly string[] {
  const keys = placesAt(schema, path).flatMap((place) => Object.keys(place.properties ?? {}));
  return [...new Set(keys)];
}

/** At most two mappings down: `timeout` on a route belongs in `policy: { timeout }`. */
function placeIn(schema: JsonSchema, path: ConfigPath, key: string): string | null {
  let level = placesAt(schema, path).map((place) => ({ place, write: (text: string) => text }));
  for (let depth = 0; depth < 2; depth++) {
    const next: typeof level = [];
    for (const { place, write } of level) {
      for (const [name, value] of Object.entries(place.properties ?? {})) {
        for (const [inner, open, close] of insides(value)) {
          const around = (text: string): string => write(`${name}: ${open}${text}${close}`);
          if (inner.properties !== undefined && Object.hasOwn(inner.properties, key))
            return around(key);
          next.push({ place: inner, write: around });
        }
      }
    }
    level = next;
  }
  return null;
}

/** The mappings that a value may be or hold, and how they are written. */
function insides(schema: JsonSchema): [JsonSchema, string, string][] {
  return branches(schema).flatMap((branch): [JsonSchema, string, string][] => [
    ...(branch.properties === undefined
      ? []
      : [[branch, "{ ", " }"] as [JsonSchema, string, string]]),
    ...(branch.items === undefined
      ? []
      : branches(branch.items).map((item): [JsonSchema, string, string] => [item, "[{ ", " }]"])),
  ]);
}

function placesAt(schema: JsonSchema, path: ConfigPath): JsonSchema[] {
  let places: JsonSchema[] = [schema];
  for (const segment of path) places = places.flatMap((place) => step(place, segment));
  return places.flatMap(branches);
}

function step(place: JsonSchema, segment: string | number): JsonSchema[] {
  return branches(place).flatMap((branch) => {
    if (typeof segment === "number")
      return branch.items === undefined
        ? branch.properties === undefined
          ? []
          : [branch]
        : [branch.items];
    const property =
      branch.properties !== undefined && Object.hasOwn(branch.properties, segment)
        ? branch.properties[segment]
        : undefined;
    if (property !== undefined) return [property];
    return typeof branch.additionalProperties === "object" ? [branch.additionalProperties] : [];
  });
}

function branches(place: JsonSchema): JsonSchema[] {
  return place.anyOf === undefined ? [place] : [place, ...place.anyOf.flatMap(branches)];
}

function toJson(schema: z.ZodType): JsonSchema {
  const made = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema: json }) => {
      const meta = z.globalRegistry.get(zodSchema as unknown as z.ZodType) as
        | Record<string, unknown>
        | undefined;
      if (meta === undefined) return;
      if (meta["weftNotYet"] instanceof z.ZodType) {
        const inner = toJson(meta["weftNotYet"]);
        Object.assign(json, inner, { "x-weft-not-yet": true });
      }
      if (meta["weftPlugin"] === true) Object.assign(json, pluginJson());
      if (typeof meta["weftExpected"] === "string")
        Object.assign(json, { "x-weft-expected": meta["weftExpected"] });
      if (Array.isArray(meta["weftLater"]))
        Object.assign(json, { "x-weft-later": meta["weftLater"] });
    },
  }) as JsonSchema;
  delete made.$schema;
  return made;
}

function pluginJson(): JsonSchema {
  const instance = toJson(instanceSchema);
  return { anyOf: [{ type: "string" }, { ...instance, additionalProperties: true }] };
}

/** Drops what only weft reads, and lets `"${VAR}"` stand for numbers and booleans. */
function tidy(schema: JsonSchema): JsonSchema {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(schema)) {
    if (key.startsWith("weft") || value === "") continue;
    out[key] = value;
  }
  const place = out as JsonSchema;
  if (place.properties !== undefined)
    place.properties = Object.fromEntries(
      Object.entries(place.properties).map(([key, one]) => [key, tidy(one)]),
    );
  if (typeof place.additionalProperties === "object")
    place.additionalProperties = tidy(place.additionalProperties);
  if (place.type === "string" && place.pattern !== undefined)
    place.pattern = `\\$\\{|${place.pattern}`;
  if (place.items !== undefined) place.items = tidy(place.items);
  if (place.propertyNames !== undefined) place.propertyNames = tidy(place.propertyNames);
  if (place.anyOf !== undefined) place.anyOf = place.anyOf.map(tidy);
  const isNarrow = place.enum !== undefined || place.const !== undefined;
  if (isNarrow || ["integer", "number", "boolean"].includes(place.type ?? "")) {
    const { description, default: fallback, "x-weft-not-yet": notYet, ...rest } = place;
    return {
      ...(description === undefined ? {} : { description }),
      ...(fallback === undefined ? {} : { default: fallback }),
      ...(notYet === undefined ? {} : { "x-weft-not-yet": notYet }),
      anyOf: [rest, { type: "string", pattern: "^\\$\\{" }],
    };
  }
  return place;
}
