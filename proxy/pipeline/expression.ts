/** Conditions in CEL: `when` of a plugin or of the access log, keys of a rate limit. Imported only when a configuration has one. */

import { Environment } from "@marcbachmann/cel-js";
import { Claims } from "./plugin.ts";
import type { Ctx, RequestHead } from "./plugin.ts";
import type { Fields } from "../http/fields.ts";

/** The text is not an expression that can be used here; the message says why and where. */
export class ExpressionError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ExpressionError";
  }
}

/** A compiled expression over a request. */
export interface Expression {
  /** CEL type of the result, `dyn` when it is known only at run time. */
  readonly type: string;
  /** Throws when a value is missing or of the wrong type. */
  evaluate(req: RequestHead, ctx: Ctx): unknown;
}

/** How an exchange ended, for conditions of the access log. */
export interface EndFacts {
  readonly status: number;
  /** Empty when weft made no error of it. */
  readonly code: string;
  readonly durationMs: number;
}

const requestVariables: Readonly<Record<string, string>> = {
  method: "string",
  path: "string",
  query: "string",
  host: "string",
  scheme: "string",
  headers: "map<string, string>",
  request: "map",
  claims: "map",
  client: "map",
  consumer: "map",
  peer: "map",
  mode: "string",
  route: "string",
  service: "string",
};

let requestWorld: Environment | null = null;
let endWorld: Environment | null = null;

function worldOf(kind: "request" | "end"): Environment {
  if (requestWorld === null || endWorld === null) {
    requestWorld = new Environment({
      enableOptionalTypes: true,
      homogeneousAggregateLiterals: false,
    });
    for (const [name, type] of Object.entries(requestVariables))
      requestWorld.registerVariable(name, type);
    requestWorld
      .registerVariable("_headerNames", "list<string>")
      .registerVariable("_claimNames", "list<string>");
    endWorld = requestWorld.clone();
    endWorld.registerVariable("status", "int");
    endWorld.registerVariable("code", "string");
    endWorld.registerVariable("duration", "double");
    endWorld.registerVariable("response", "map");
  }
  return kind === "request" ? requestWorld : endWorld;
}

/**
 * Compiles an expression over `method path query host scheme headers request claims client consumer peer mode route
 * service`. A header that is absent is the empty text; a claim that is absent is null. Throws an {@link ExpressionError}.
 */
export function compileExpression(source: string): Expression {
  const { run, type } = compile(source, "request");
  return { type, evaluate: (req, ctx) => run(new RequestVariables(req, ctx)) };
}

/**
 * Compiles a condition. A text whose evaluation fails (a claim that is absent compared with a number) holds: a plugin
 * that guards something must not be skipped because its condition could not be read. Throws an {@link ExpressionError}.
 */
export function compileWhen(source: string): (req: RequestHead, ctx: Ctx) => boolean {
  const { evaluate, type } = compileExpression(source);
  assertBool(source, type);
  return (req, ctx) => {
    try {
      return evaluate(req, ctx) !== false;
    } catch {
      return true;
    }
  };
}

/** As {@link compileWhen}, with `status`, `code`, `duration` (ms) and `response.status` besides: for the access log. */
export function compileEndWhen(
  source: string,
): (req: RequestHead, ctx: Ctx, end: EndFacts) => boolean {
  const { run, type } = compile(source, "end");
  assertBool(source, type);
  return (req, ctx, end) => {
    try {
      return run(new EndVariables(req, ctx, end)) !== false;
    } catch {
      return true;
    }
  };
}

function assertBool(source: string, type: string): void {
  if (type !== "bool" && type !== "dyn") {
    throw new ExpressionError(
      `the condition ${JSON.stringify(source)} is ${type}, not true or false`,
    );
  }
}

function compile(
  source: string,
  kind: "request" | "end",
): { run: (variables: object) => unknown; type: string } {
  try {
    const parsed = worldOf(kind).parse(withPresence(source));
    const checked = parsed.check();
    if (!checked.valid) throw checked.error ?? new Error("not valid");
    return {
      run: (variables) => parsed(variables as Record<string, unknown>),
      type: String(checked.type),
    };
  } catch (error) {
    const [first] = (error instanceof Error ? error.message : String(error)).split("\n");
    throw new ExpressionError(`in the expression ${JSON.stringify(source)}: ${first}`);
  }
}

const presence =
  /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\bhas\(\s*((?:request\.)?headers|claims)\.(\w+)\s*\)|\bin\s+((?:request\.)?headers|claims)\b(?!\s*[.[])/g;

/**
 * The lenient maps answer every key, so that `headers["x"] == "1"` is false for an absent header instead of an error;
 * the library asks for presence in the same way, so `has(headers.x)` and `"x" in headers` ask a list of names instead.
 */
function withPresence(source: string): string {
  return source.replace(
    presence,
    (text, hasMap: string | undefined, key: string, inMap: string | undefined) => {
      const map = hasMap ?? inMap;
      if (map === undefined) return text;
      const names = map === "claims" ? "_claimNames" : "_headerNames";
      return hasMap === undefined ? `in ${names}` : `(${JSON.stringify(key)} in ${names})`;
    },
  );
}

/** What the evaluator reads variables from: each is made when it is asked for. */
class RequestVariables {
  protected readonly req: RequestHead;
  protected readonly ctx: Ctx;
  constructor(req: RequestHead, ctx: Ctx) {
    this.req = req;
    this.ctx = ctx;
  }
  get method(): string {
    return this.req.method;
  }
  get path(): string {
    return this.req.path;
  }
  get query(): string {
    return this.req.query;
  }
  get host(): string {
    return this.req.host;
  }
  get scheme(): string {
    return this.req.scheme;
  }
  get headers(): Map<string, string> {
    return new HeaderMap(this.req.headers);
  }
  get _headerNames(): string[] {
    return Array.from(this.req.headers, ([name]) => name);
  }
  get _claimNames(): string[] {
    return Object.keys(this.ctx.get(Claims) ?? {});
  }
  get request(): object {
    const { method, path, query, host, scheme } = this.req;
    return { method, path, query, host, scheme, headers: this.headers };
  }
  get claims(): Map<string, unknown> {
    return new LenientMap(this.ctx.get(Claims) ?? {});
  }
  get client(): object {
    const { address, port, tls } = this.ctx.client;
    return { address, port, tls: tls !== null };
  }
  get consumer(): Map<string, unknown> {
    const { consumer } = this.ctx;
    if (consumer === null) return new LenientMap({ groups: [] });
    return new LenientMap({
      name: consumer.name,
      plan: consumer.plan,
      groups: [...consumer.groups],
    });
  }
  get peer(): Map<string, unknown> {
    const { peer } = this.ctx;
    if (peer === null) return new LenientMap({});
    return new LenientMap({ id: peer.id, service: peer.service, trustDomain: peer.trustDomain });
  }
  get mode(): string {
    return this.ctx.mode;
  }
  get route(): string {
    return this.ctx.routeName;
  }
  get service(): string {
    return this.ctx.serviceName ?? "";
  }
}

class EndVariables extends RequestVariables {
  private readonly end: EndFacts;
  constructor(req: RequestHead, ctx: Ctx, end: EndFacts) {
    super(req, ctx);
    this.end = end;
  }
  get status(): bigint {
    return BigInt(this.end.status);
  }
  get code(): string {
    return this.end.code;
  }
  get duration(): number {
    return this.end.durationMs;
  }
  get response(): object {
    return { status: BigInt(this.end.status) };
  }
}

/** A map in which an absent key is null, so that `claims.role != "admin"` has an answer. */
class LenientMap extends Map<string, unknown> {
  constructor(values: Readonly<Record<string, unknown>>) {
    super(Object.entries(values));
  }
  override get(key: string): unknown {
    return super.get(key) ?? null;
  }
}

/** The fields of a head as a map of lower-case names; an absent one is the empty text. */
class HeaderMap extends Map<string, string> {
  private readonly fields: Fields;
  constructor(fields: Fields) {
    super();
    this.fields = fields;
  }
  override get(name: string): string {
    return this.fields.get(name) ?? "";
  }
}

// the evaluator decides what a map is by its constructor
for (const kind of [LenientMap, HeaderMap]) {
  Object.defineProperty(kind.prototype, "constructor", { value: Map, configurable: true });
}
