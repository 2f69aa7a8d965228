/** Whose allowance a request uses: the `by` of rate limits. */

import { hash } from "node:crypto";
import { z } from "zod";
import { Claims } from "../proxy/pipeline/plugin.ts";
import { readClaim } from "./jwt-claims.ts";
import { fieldNameOption } from "./options.ts";
import type { Consumer, Ctx, Host, RequestHead } from "../proxy/pipeline/plugin.ts";

/** `client`, `consumer`, `route`, `{ header: x }`, `{ claim: sub }` or `{ cel: "..." }`. */
export const byOption = z.union(
  [
    z.enum(["client", "consumer", "route"]),
    z.strictObject({ header: fieldNameOption() }),
    z.strictObject({ claim: z.string().min(1) }),
    z.strictObject({ cel: z.string().min(1) }),
  ],
  'one of client, consumer, route, { header: x }, { claim: sub }, { cel: "..." }',
);
export type By = z.output<typeof byOption>;

/** Undefined: the request does not have it. Keys of different kinds never meet. */
export type KeyOf = (req: RequestHead, ctx: Ctx) => string | undefined;

/** The expression library is loaded only for `cel`. Rejects when the expression cannot be compiled. */
export async function toKeyOf(by: By, host: Host): Promise<KeyOf> {
  if (by === "client") return (_req, ctx) => clientKey(ctx.client.address);
  if (by === "route") return () => "route";
  if (by === "consumer")
    return (_req, ctx) => (ctx.consumer === null ? undefined : consumerKey(ctx.consumer));
  if ("header" in by) {
    const field = host.header(by.header);
    return (req) => textKey("h:", req.headers.get(field));
  }
  if ("claim" in by) {
    return (_req, ctx) => {
      const claims = ctx.get(Claims);
      return claims === undefined ? undefined : textKey("j:", readClaim(claims, by.claim));
    };
  }
  const { compileExpression } = await import("../proxy/pipeline/expression.ts");
  const expression = compileExpression(by.cel);
  return (req, ctx) => {
    try {
      return textKey("e:", expression.evaluate(req, ctx));
    } catch {
      return undefined;
    }
  };
}

/**
 * An IPv4 address, or the /64 of an IPv6 one: a household or a machine has at least that many addresses, so a limit
 * per address would be none.
 */
export function clientKey(address: string): string {
  if (!address.includes(":")) return `c:${address}`;
  const plain = address.split("%")[0]!;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain);
  if (mapped !== null) return `c:${mapped[1]}`;
  const [left = "", right] = plain.split("::");
  const head = left === "" ? [] : left.split(":");
  const tail = right === undefined || right === "" ? [] : right.split(":");
  if (right !== undefined) {
    // an embedded IPv4 address stands for two groups
    const groups = head.length + tail.length + (tail.at(-1)?.includes(".") === true ? 1 : 0);
    head.push(...Array<string>(Math.max(0, 8 - groups)).fill("0"), ...tail);
  }
  return `c:${head
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::/64`;
}

const kinds: Readonly<Record<string, string>> = {
  c: "",
  u: "consumer ",
  h: "header ",
  j: "claim ",
  e: "expression ",
};

/** A key as it is shown to operators. */
export function callerText(key: string): string {
  if (key === "route") return "everybody";
  const at = key.indexOf(":");
  return `${kinds[key.slice(0, at)] ?? ""}${key.slice(at + 1)}`;
}

function textKey(kind: string, value: unknown): string | undefined {
  switch (typeof value) {
    case "string":
      return value === "" ? undefined : shortKey(kind, value);
    case "number":
    case "bigint":
    case "boolean":
      return `${kind}${value}`;
    default:
      return undefined;
  }
}

const consumerKeys = new WeakMap<Consumer, string>();

function consumerKey(consumer: Consumer): string {
  let key = consumerKeys.get(consumer);
  if (key === undefined) consumerKeys.set(consumer, (key = shortKey("u:", consumer.name)));
  return key;
}

/** Long values, which a stranger may send, are hashed. */
function shortKey(kind: string, value: string): string {
  return value.length <= 128 ? kind + value : `${kind}#${hash("sha256", value, "hex")}`;
}
