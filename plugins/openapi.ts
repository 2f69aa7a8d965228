/** Reads OpenAPI documents (3.0 and 3.1): operations by path and method, for `validate` and `weft import openapi`. */

import { parse } from "yaml";

/** Anything of a document. */
export type Node = Readonly<Record<string, unknown>>;

export const methods = [
  "get",
  "put",
  "post",
  "delete",
  "options",
  "head",
  "patch",
  "trace",
] as const;

export interface Operation {
  /** In upper case. */
  readonly method: string;
  /** As in the document: `/pets/{id}`. */
  readonly path: string;
  /** `operationId`; null: it has none. */
  readonly id: string | null;
  /** Its own, else those of the path or the document; variables replaced by their defaults. */
  readonly servers: readonly string[];
  readonly parameters: readonly Parameter[];
  readonly body: Body | null;
}

export interface Parameter {
  readonly name: string;
  readonly in: "query" | "header" | "path" | "cookie";
  readonly isRequired: boolean;
  readonly style: string;
  readonly isExploded: boolean;
  /** JSON pointer of its schema in the document; null: any value. */
  readonly schema: string | null;
  /** The schema wants a list, or an object. */
  readonly shape: "text" | "list" | "object";
}

export interface Body {
  readonly isRequired: boolean;
  /** Media type, or range, to the pointer of its schema; null: any value. */
  readonly content: ReadonlyMap<string, string | null>;
}

export interface OpenApi {
  readonly title: string;
  /** Ready for a JSON Schema compiler: 3.0 is rewritten into the dialect of 3.1. */
  readonly document: Node;
  readonly servers: readonly string[];
  readonly operations: readonly Operation[];
}

/** Throws an Error that says what is wrong. @param text YAML or JSON */
export function readOpenApi(text: string): OpenApi {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 1000 });
  } catch (error) {
    throw new Error(`not readable: ${error instanceof Error ? error.message.split("\n")[0] : ""}`);
  }
  const root = asNode(value);
  const version = String(root["openapi"] ?? "");
  if (!/^3\.[01](\.|$)/.test(version)) {
    const found = version === "" ? "no version" : version;
    throw new Error(`not an OpenAPI document of version 3.0 or 3.1 (found: ${found})`);
  }
  const document = version.startsWith("3.0") ? asNode(modernise(root)) : root;
  return new Reader(document).read();
}

class Reader {
  private readonly document: Node;

  constructor(document: Node) {
    this.document = document;
  }

  read(): OpenApi {
    const { document } = this;
    const servers = serversOf(document) ?? ["/"];
    const operations: Operation[] = [];
    for (const [path, item] of Object.entries(asNode(document["paths"]))) {
      if (!path.startsWith("/")) continue;
      const at = this.resolve(`/paths/${escape(path)}`, item);
      for (const method of methods) {
        if (at.node[method] === undefined) continue;
        operations.push(this.operation(path, method, at, servers));
      }
    }
    const title = String(asNode(document["info"])["title"] ?? "");
    return { title, document, servers, operations };
  }

  private operation(path: string, method: string, item: Place, servers: readonly string[]) {
    const own = this.resolve(`${item.at}/${method}`, item.node[method]);
    const parameters = new Map<string, Parameter>();
    for (const place of [item, own]) {
      for (const [i, one] of asList(place.node["parameters"]).entries()) {
        const parameter = this.parameter(this.resolve(`${place.at}/parameters/${i}`, one));
        parameters.set(`${parameter.in} ${parameter.name}`, parameter);
      }
    }
    const { operationId, requestBody } = own.node;
    return {
      method: method.toUpperCase(),
      path,
      id: typeof operationId === "string" ? operationId : null,
      servers: serversOf(own.node) ?? serversOf(item.node) ?? servers,
      parameters: [...parameters.values()],
      body: requestBody === undefined ? null : this.body(`${own.at}/requestBody`, requestBody),
    };
  }

  private parameter({ node, at }: Place): Parameter {
    const kind = String(node["in"]);
    if (kind !== "query" && kind !== "header" && kind !== "path" && kind !== "cookie")
      throw new Error(`#${at}: a parameter in "${kind}"`);
    const usual = kind === "query" || kind === "cookie" ? "form" : "simple";
    const style = String(node["style"] ?? usual);
    const schema = node["schema"] === undefined ? null : `${at}/schema`;
    return {
      name: String(node["name"]),
      in: kind,
      isRequired: node["required"] === true || kind === "path",
      style,
      isExploded: node["explode"] === undefined ? style === "form" : node["explode"] === true,
      schema,
      shape: schema === null ? "text" : this.shape(this.resolve(schema, node["schema"]).node),
    };
  }

  private shape(schema: Node): Parameter["shape"] {
    const types = [schema["type"]].flat();
    if (types.includes("array")) return "list";
    return types.includes("object") ? "object" : "text";
  }

  private body(pointer: string, value: unknown): Body {
    const { node, at } = this.resolve(pointer, value);
    const content = new Map<string, string | null>();
    for (const [type, media] of Object.entries(asNode(node["content"]))) {
      const schema = asNode(media)["schema"];
      const place = schema === undefined ? null : `${at}/content/${escape(type)}/schema`;
      content.set(type.toLowerCase().split(";")[0]!.trim(), place);
    }
    return { isRequired: node["required"] === true, content };
  }

  /** Follows `$ref`s inside the document. */
  private resolve(at: string, value: unknown): Place {
    let place: Place = { at, node: asNode(value) };
    for (let steps = 0; typeof place.node["$ref"] === "string"; steps++) {
      const reference = place.node["$ref"];
      if (!reference.startsWith("#/"))
        throw new Error(`$ref "${reference}": only references inside the document are followed`);
      if (steps === 20) throw new Error(`$ref "${reference}" leads in a circle`);
      const pointer = decodeURIComponent(reference.slice(1));
      place = { at: pointer, node: asNode(this.find(pointer, reference)) };
    }
    return place;
  }

  private find(pointer: string, reference: string): unknown {
    let value: unknown = this.document;
    for (const part of pointer.split("/").slice(1)) {
      const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
      const holder = value as Record<string, unknown> | null;
      if (typeof holder !== "object" || holder === null || !Object.hasOwn(holder, key))
        throw new Error(`$ref "${reference}" leads nowhere`);
      value = holder[key];
    }
    return value;
  }
}

interface Place {
  /** JSON pointer. */
  readonly at: string;
  readonly node: Node;
}

/** One name of a JSON pointer. */
export function escape(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

function asNode(value: unknown): Node {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Node)
    : {};
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function serversOf(node: Node): readonly string[] | null {
  const urls = asList(node["servers"]).flatMap((one) => {
    const { url, variables } = asNode(one);
    if (typeof url !== "string") return [];
    return url.replace(/\{([^}]*)\}/g, (text, name: string) =>
      String(asNode(asNode(variables)[name])["default"] ?? text),
    );
  });
  return urls.length === 0 ? null : urls;
}

/** Says in JSON Schema 2020-12 what 3.0 says in its own words: `nullable`, and exclusive bounds as switches. */
function modernise(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(modernise);
  if (typeof value !== "object" || value === null) return value;
  const node: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) node[key] = modernise(inner);
  for (const [bound, exclusive] of [
    ["minimum", "exclusiveMinimum"],
    ["maximum", "exclusiveMaximum"],
  ] as const) {
    if (typeof node[exclusive] !== "boolean") continue;
    if (node[exclusive] && typeof node[bound] === "number") {
      node[exclusive] = node[bound];
      delete node[bound];
    } else delete node[exclusive];
  }
  if (typeof node["nullable"] !== "boolean") return node;
  const isNullable = node["nullable"];
  delete node["nullable"];
  if (!isNullable) return node;
  if (typeof node["type"] === "string") {
    node["type"] = [node["type"], "null"];
    if (Array.isArray(node["enum"])) node["enum"] = [...node["enum"], null];
    return node;
  }
  return { anyOf: [node, { type: "null" }] };
}
