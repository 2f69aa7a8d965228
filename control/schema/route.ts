/** The schema of routes and of the plugins on them. */

import { z } from "zod";
import { policyUse } from "./policy.ts";
import {
  authority,
  choice,
  flag,
  hostPattern,
  isFieldName,
  isFieldValue,
  method,
  name,
  notYet,
  path,
  refuse,
  regex,
  show,
  template,
  text,
  whole,
} from "./scalars.ts";
import { didYouMean } from "../suggest.ts";
import { builtInNames, futureNames } from "../../plugins/registry.ts";
import { stages } from "../../proxy/pipeline/plugin.ts";

/** One or a list of them, always read as a list. */
function oneOrMany<S extends z.ZodType>(schema: S, expected: string) {
  return z
    .union([schema, z.array(schema)], { error: expected })
    .transform((value): z.output<S>[] =>
      Array.isArray(value) ? (value as z.output<S>[]) : [value as z.output<S>],
    );
}

/** Exactly one of `keys` must be given in an object. */
function exactlyOne(ctx: z.core.$RefinementCtx, value: object, keys: readonly string[]): void {
  const given = keys.filter((key) => (value as Record<string, unknown>)[key] !== undefined);
  const expected = `exactly one of ${keys.join(", ")}`;
  if (given.length === 0)
    refuse(
      ctx,
      `needs ${keys.length === 2 ? `${keys[0]} or ${keys[1]}` : `one of ${keys.join(", ")}`}`,
      { expected, missing: true },
    );
  else if (given.length > 1)
    refuse(ctx, `"${given[1]}" cannot stand beside "${given[0]}"`, { expected }, [given[1] ?? ""]);
}

const pathMatch = z
  .union(
    [
      path(),
      z
        .strictObject({
          prefix: path()
            .optional()
            .meta({ description: "Element-wise: /foo takes /foo and /foo/bar, never /foobar." }),
          exact: path().optional().meta({ description: "This path only." }),
          regex: regex().optional().meta({ description: "RE2 syntax." }),
          template: template()
            .optional()
            .meta({ description: "The whole path; {x} is one non-empty element." }),
        })
        .superRefine((value, ctx) =>
          exactlyOne(ctx, value, ["prefix", "exact", "regex", "template"]),
        ),
    ],
    { error: "a path prefix such as /orders, or { exact: /x }, { regex: ... }, { template: ... }" },
  )
  .meta({ description: "A prefix by elements, or { exact }, { regex } or { template }." });

const valueMatch = z
  .union(
    [
      z.string(),
      z
        .strictObject({
          exact: z.string({ error: "a text" }).optional(),
          regex: regex().optional(),
          present: flag().optional(),
        })
        .superRefine((value, ctx) => exactlyOne(ctx, value, ["exact", "regex", "present"])),
    ],
    {
      error: "a text (in quotes when it looks like a number), { regex: ... } or { present: true }",
    },
  )
  .meta({ description: "Equal to this text, or { regex }, or { present: true | false }." });

const headerName = z.string().superRefine((value, ctx) => {
  if (!isFieldName(value))
    refuse(ctx, `${show(value)} is not a header name`, {
      expected: "a name such as x-canary",
      at: "key",
    });
});

const matchSchema = z.strictObject({
  path: pathMatch.optional(),
  methods: z
    .array(method(), { error: "a list of methods" })
    .min(1, { error: "at least one method" })
    .optional()
    .meta({ description: "Any of them. Default: every method." }),
  headers: z
    .record(headerName, valueMatch, { error: "a mapping of header names to values" })
    .optional()
    .meta({ description: "All of them." }),
  query: z
    .record(z.string().min(1), valueMatch, { error: "a mapping of query parameters to values" })
    .optional()
    .meta({ description: "All of them." }),
});

const target = z.strictObject({
  service: name("the name of a service").meta({ description: "A name from `services:`." }),
  weight: whole(0, 1_000_000).default(1).meta({ description: "Its share beside the others." }),
});

const targets = z
  .union(
    [
      name("the name of a service"),
      target,
      z
        .array(z.union([name("the name of a service"), target]))
        .min(1, { error: "at least one service" }),
    ],
    {
      error: "the name of a service, or a list such as [{ service: orders, weight: 90 }]",
    },
  )
  .transform((value) => {
    const list = Array.isArray(value) ? value : [value];
    return list.map((one) => (typeof one === "string" ? { service: one, weight: 1 } : one));
  })
  .superRefine((list, ctx) => {
    if (list.every((one) => one.weight === 0))
      refuse(ctx, "every weight is 0", { expected: "at least one above 0" });
  });

const fieldValues = z
  .record(headerName, z.string({ error: "a text (in quotes when it looks like a number)" }), {
    error: "a mapping of header names to texts",
  })
  .superRefine((value, ctx) => {
    for (const [key, one] of Object.entries(value)) {
      if (!isFieldValue(one))
        refuse(
          ctx,
          "this header value holds a line break or a control character",
          { expected: "plain text" },
          [key],
        );
    }
  });

const redirect = z
  .strictObject({
    scheme: choice(["http", "https"]).optional().meta({ description: "Default: as asked." }),
    host: hostPattern().optional().meta({ description: "Default: as asked." }),
    port: whole(1, 65535)
      .optional()
      .meta({ description: "Default: as asked, or that of the scheme." }),
    path: path().optional().meta({ description: "Replaces the whole path." }),
    prefix: path().optional().meta({ description: "Replaces the part of the path that matched." }),
    status: z
      .literal([301, 302, 303, 307, 308], { error: "301, 302, 303, 307 or 308" })
      .default(302),
  })
  .superRefine((value, ctx) => {
    if (value.path !== undefined && value.prefix !== undefined)
      refuse(ctx, '"prefix" cannot stand beside "path"', { expected: "one of them" }, ["prefix"]);
    const { scheme, host, port, path: whole, prefix } = value;
    if ([scheme, host, port, whole, prefix].every((part) => part === undefined))
      refuse(ctx, "leads back to where it came from", {
        expected: "scheme, host, port, path or prefix",
        missing: true,
      });
    if (host?.startsWith("*.") === true)
      refuse(ctx, "a wildcard is no place to send anyone", { expected: "one host" }, ["host"]);
  });

const respond = z
  .strictObject({
    status: whole(200, 599).default(200),
    body: z.string({ error: "a text" }).default(""),
    headers: fieldValues
      .optional()
      .meta({ description: "content-type is text/plain when it is not given." }),
  })
  .superRefine((value, ctx) => {
    if ((value.status === 204 || value.status === 304) && value.body !== "")
      refuse(ctx, `a ${value.status} has no body`, { expected: "no body, or another status" }, [
        "body",
      ]);
    for (const key of Object.keys(value.headers ?? {})) {
      if (
        /^(content-length|transfer-encoding|connection|upgrade|keep-alive|te|trailer)$/i.test(key)
      )
        refuse(ctx, "weft sets this header itself", { at: "key" }, ["headers", key]);
    }
  });

const rewrite = z
  .strictObject({
    prefix: path().optional().meta({ description: "Replaces the part of the path that matched." }),
    path: path().optional().meta({ description: "Replaces the whole path." }),
    host: authority().optional().meta({ description: "The Host that the service sees." }),
  })
  .superRefine((value, ctx) => {
    if (value.path !== undefined && value.prefix !== undefined)
      refuse(ctx, '"prefix" cannot stand beside "path"', { expected: "one of them" }, ["prefix"]);
  });

const nameList = oneOrMany(
  z.string({ error: "the name of a plugin" }).min(1, { error: "the name of a plugin" }),
  "the name of a plugin, or a list of names",
);

/** What may stand beside a plugin's name in a list. */
const instanceShape = {
  id: name("an id")
    .optional()
    .meta({ description: "Default: the plugin’s name. Another id is a second instance." }),
  when: text('an expression such as method != "OPTIONS"')
    .optional()
    .meta({ description: "CEL; the plugin runs when it is true." }),
  onError: choice(["open", "closed"])
    .optional()
    .meta({ description: "What a throw means: go on without it, or answer 500." }),
  stage: choice(stages).optional().meta({ description: "Instead of the plugin’s own." }),
  before: nameList.optional().meta({ description: "Plugins that must run after this one." }),
  after: nameList.optional().meta({ description: "Plugins that must run before this one." }),
  enabled: flag().default(true),
  enforced: flag()
    .default(false)
    .meta({ description: "On the global list: a route cannot remove or replace it." }),
};
const instance = z.strictObject(instanceShape);
export const instanceKeys: readonly string[] = Object.keys(instanceShape);

/** One use of a plugin, by the key that names it. */
export interface ParsedPlugin extends z.output<typeof instance> {
  readonly use: string;
  readonly options: unknown;
  /** The key that named it in an object; null for a bare name. */
  readonly key: string | null;
}

const pluginExpected = "a plugin’s name, or { name: { options } }";

function isKnown(name: string): boolean {
  return builtInNames.includes(name) || futureNames.includes(name) || /^\.{0,2}\//.test(name);
}

/** What a second name in one item was likely meant to be. */
function misplaced(item: Readonly<Record<string, unknown>>, use: string, other: string): string {
  const named = item["name"] ?? item["plugin"] ?? item["use"];
  if (typeof named === "string" && !isKnown(use))
    return `write a plugin and its options as - ${named}: { ... }`;
  if (isKnown(other)) return "another plugin is another item of the list";
  if (item[use] === null) return `an option of "${use}" is indented below it`;
  return `options of "${use}" stand in its own mapping`;
}

const pluginUse = z
  .union([z.string().min(1, { error: pluginExpected }), z.record(z.string(), z.unknown())], {
    error: pluginExpected,
  })
  .transform((value, ctx): ParsedPlugin => {
    if (typeof value === "string")
      return { use: value, options: {}, key: null, ...instance.parse({}) };
    const names = Object.keys(value).filter((key) => !instanceKeys.includes(key));
    const use = names.find(isKnown) ?? names[0];
    if (use === undefined)
      return refuse(ctx, "no plugin is named here", {
        expected: "a name such as jwt beside the options",
      });
    for (const other of names) {
      if (other === use) continue;
      const expected = `one of ${instanceKeys.join(", ")} beside "${use}"`;
      const suggestion = didYouMean(other, instanceKeys) ?? misplaced(value, use, other);
      refuse(ctx, `unknown key "${other}"`, { expected, suggestion, at: "key" }, [other]);
    }
    if (use === "") return refuse(ctx, "a plugin without a name", { expected: pluginExpected });
    const rest = Object.fromEntries(
      Object.entries(value).filter(([key]) => instanceKeys.includes(key)),
    );
    const found = instance.safeParse(rest);
    if (!found.success) {
      for (const issue of found.error.issues)
        ctx.issues.push({ ...issue, input: undefined } as z.core.$ZodRawIssue);
      return z.NEVER;
    }
    return { use, options: value[use] ?? {}, key: use, ...found.data };
  })
  .meta({ weftPlugin: true });

/** For the JSON Schema of a plugin entry: the keys beside the name. */
export const instanceSchema = instance;

export const pluginsSchema = z.array(pluginUse, { error: "a list of plugins" });

export const routeSchema = z
  .strictObject({
    name: name("a name").optional().meta({
      description: "In logs, metrics and `weft explain`. Default: route-1, route-2, ... by place.",
    }),
    hosts: z
      .array(hostPattern(), { error: "a list of hosts" })
      .default([])
      .meta({ description: "Exact names or *.suffix. Default: every host." }),
    match: oneOrMany(matchSchema, "a mapping such as { path: /orders }, or a list of them")
      .default([])
      .meta({ description: "One or a list: any of them. Default: every request." }),
    to: targets
      .optional()
      .meta({ description: "A service, or several with weights (exact over time)." }),
    redirect: redirect.optional().meta({ description: "Answers with a redirect." }),
    respond: respond.optional().meta({ description: "Answers with this." }),
    app: text("a module file").optional().meta({
      description:
        "A module whose default export is a Hono app, or anything with fetch(), run in process.",
    }),
    rewrite: rewrite.optional().meta({ description: "What goes upstream; the query is kept." }),
    mirror: notYet(z.strictObject({ service: z.string(), percent: z.number() })).meta({
      description: "A copy to another service.",
    }),
    plugins: pluginsSchema
      .default([])
      .meta({ description: "After the global ones, by stage and then in this order." }),
    policy: policyUse.optional(),
  })
  .superRefine((route, ctx) => {
    exactlyOne(ctx, route, ["to", "redirect", "respond", "app"]);
    if (
      route.rewrite !== undefined &&
      (route.redirect !== undefined || route.respond !== undefined)
    ) {
      refuse(
        ctx,
        'nothing goes upstream on a route with "redirect" or "respond"',
        { expected: '"rewrite" beside "to" or "app"' },
        ["rewrite"],
      );
    }
  });
