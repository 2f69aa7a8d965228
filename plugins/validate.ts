/** Refuses requests that do not follow a JSON Schema, or the route's OpenAPI document: 400 with every wrong field. */

import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { z } from "zod";
import { definePlugin, problem, slot } from "../proxy/pipeline/plugin.ts";
import type { Check, Wrong } from "./json-schema.ts";
import type { BufferedBody, Ctx, Host, Reply, RequestHead } from "../proxy/pipeline/plugin.ts";

/** Told with one request; `check` null: no body is wanted. */
export interface Verdict {
  readonly wrong: readonly Wrong[];
  readonly body: BodyCheck | null;
}
export interface BodyCheck {
  readonly isRequired: boolean;
  readonly kind: "json" | "form";
  readonly check: Check | null;
}
/** A reply: the document has no such operation. Null: nothing to say. */
export type Judge = (req: RequestHead) => Verdict | Reply | null;

/** A body larger than this is told its first wrong field only: telling all would take long. */
const largeBytes = 64 * 1024;
const toldFields = 20;

const schemaOption = z.union(
  [z.record(z.string(), z.unknown()), z.boolean()],
  "a JSON Schema: a mapping such as { type: object }",
);

const config = z
  .strictObject({
    body: schemaOption.optional(),
    query: schemaOption.optional(),
    headers: schemaOption.optional(),
    openapi: z.string().min(1).optional(),
  })
  .refine(
    ({ body, query, headers, openapi }) =>
      [body, query, headers, openapi].some((one) => one !== undefined),
    "validate needs a schema for body, query or headers, or openapi: FILE",
  )
  .refine(
    ({ body, query, headers, openapi }) =>
      openapi === undefined || [body, query, headers].every((one) => one === undefined),
    "either openapi, or schemas of one's own",
  );

/** Some instance of this route wants the body. */
const WantsBody = slot<true>("validate.body");

export default definePlugin({
  name: "validate",
  stage: "transform",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  config,
  body: {
    request: { buffer: "1MiB", when: (_head, ctx) => ctx.get(WantsBody) === true },
  },
  async setup(options, host) {
    let judge = await createJudge(options, host);
    const Pending = slot<Verdict>(`validate.${host.id}`);
    if (options.openapi !== undefined) watch(options.openapi, host, (next) => (judge = next));

    return {
      request(req, ctx) {
        const verdict = judge(req);
        if (verdict === null || !("wrong" in verdict)) return verdict ?? undefined;
        const { wrong, body } = verdict;
        if (body === null) return wrong.length === 0 ? undefined : refuse(wrong);
        if (req.framing === "none") {
          const missing: Wrong = { in: "body", field: "", message: "is missing" };
          const all = body.isRequired ? [...wrong, missing] : wrong;
          return all.length === 0 ? undefined : refuse(all);
        }
        // the body's wrong fields are told together with these
        ctx.set(Pending, verdict);
        ctx.set(WantsBody, true);
        return undefined;
      },
      requestBody(body: BufferedBody, ctx: Ctx) {
        const verdict = ctx.get(Pending);
        if (verdict === undefined) return undefined;
        const all = [...verdict.wrong, ...wrongInBody(body.bytes, verdict.body!)];
        return all.length === 0 ? undefined : refuse(all);
      },
    };
  },
});

async function createJudge(options: z.output<typeof config>, host: Host): Promise<Judge> {
  if (options.openapi === undefined) {
    const { judgeSchemas } = await import("./validate-schemas.ts");
    return judgeSchemas(options);
  }
  const { judgeOpenApi } = await import("./validate-openapi.ts");
  try {
    return judgeOpenApi(await readFile(resolve(host.baseDir, options.openapi), "utf8"));
  } catch (error) {
    throw new Error(`${options.openapi}: ${reasonOf(error)}`);
  }
}

/** A document that changes is followed; one that became wrong changes nothing. */
function watch(file: string, host: Host, use: (judge: Judge) => void): void {
  const path = resolve(host.baseDir, file);
  let seen: number | null = null;
  host.every(5000, async () => {
    const { mtimeMs } = await stat(path);
    if (seen !== null && mtimeMs !== seen) {
      const { judgeOpenApi } = await import("./validate-openapi.ts");
      try {
        use(judgeOpenApi(await readFile(path, "utf8")));
        host.log.info("the OpenAPI document was read anew", { file });
      } catch (error) {
        const reason = reasonOf(error);
        host.log.warn("the OpenAPI document is wrong: the one before holds", { file, reason });
      }
    }
    seen = mtimeMs;
  });
}

function wrongInBody(bytes: Uint8Array, { check, isRequired, kind }: BodyCheck): readonly Wrong[] {
  if (bytes.length === 0)
    return isRequired ? [{ in: "body", field: "", message: "is missing" }] : [];
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
  let value: unknown;
  if (kind === "form") value = Object.fromEntries(formValues(text));
  else {
    try {
      value = JSON.parse(text);
    } catch {
      return [{ in: "body", field: "", message: "must be JSON" }];
    }
  }
  const wrong = check === null ? [] : check(value, bytes.length > largeBytes);
  return wrong.map((one) => ({ in: "body", ...one }));
}

function formValues(text: string): Map<string, unknown> {
  const values = new Map<string, unknown>();
  for (const [name, value] of new URLSearchParams(text)) {
    const before = values.get(name);
    values.set(name, before === undefined ? value : [before, value].flat());
  }
  return values;
}

function refuse(wrong: readonly Wrong[]): Reply {
  const told = wrong.slice(0, toldFields).map((one) => {
    // of parameters the pointer is a name with a slash before it
    const field = one.field === "" ? "" : `${one.field.startsWith("/") ? "" : "/"}${one.field}`;
    return `${one.in}${field} ${one.message}`;
  });
  if (wrong.length > toldFields) told.push(`and ${wrong.length - toldFields} more`);
  return problem("bad-request", 400, told.join("; "), {}, { errors: wrong });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
