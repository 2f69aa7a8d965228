/** Asks an HTTP service about each request, as forward-auth of other proxies does: 2xx lets it pass, other answers go to the caller. */

import { hash } from "node:crypto";
import { z } from "zod";
import { definePlugin, problem, Reply } from "../proxy/pipeline/plugin.ts";
import { AuthzService } from "./authz-call.ts";
import { identify } from "./identify.ts";
import { durationOption, fieldNameOption, writableNameOption } from "./options.ts";
import type { AuthzAnswer } from "./authz-call.ts";
import type { Ctx, RequestHead } from "../proxy/pipeline/plugin.ts";

/** Decisions remembered, when `cache` says for how long. */
const cacheMax = 4096;
/** The log has at most one line of this kind in this time. */
const complainMs = 1000;

const config = z.strictObject({
  url: z.string().refine((text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol), {
    message: "the URL of an HTTP service, such as http://127.0.0.1:9000/check",
  }),
  timeout: durationOption().default(500),
  onError: z.enum(["closed", "open"]).default("closed"),
  sendHeaders: z.array(fieldNameOption()).optional(),
  takeHeaders: z.array(writableNameOption()).default([]),
  answerHeaders: z.array(writableNameOption()).default([]),
  consumerHeader: fieldNameOption().optional(),
  cache: durationOption().default(0),
});

export default definePlugin({
  name: "ext-authz",
  stage: "authz",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  // the call has its own, shorter time
  timeout: "60s",
  config,
  setup(options, host) {
    const { onError, cache: cacheMs } = options;
    const service = new AuthzService(new URL(options.url), options.timeout);
    const taken = options.takeHeaders.map((name) => host.header(name));
    const shown = new Set(options.answerHeaders.map((name) => name.toLowerCase()));
    const consumerField = options.consumerHeader?.toLowerCase();
    const sent = options.sendHeaders?.map((name) => name.toLowerCase()) ?? null;
    const cache = host.local<AuthzAnswer>("decisions", { max: cacheMax, ttlMs: cacheMs });
    const running = new Map<string, Promise<AuthzAnswer>>();
    const decisions = host.counter("ext_authz", ["result"]);
    const away = problem(
      "auth-unavailable",
      503,
      "the service that decides about access does not answer",
      { "retry-after": "1" },
    );
    let complainedMs = Number.NEGATIVE_INFINITY;

    const conclude = (req: RequestHead, ctx: Ctx, answer: AuthzAnswer): Reply | undefined => {
      if (answer.status >= 300) {
        decisions.inc(["denied"]);
        return toReply(answer, req);
      }
      decisions.inc(["allowed"]);
      for (const name of taken) {
        const values = answer.fields.filter(([field]) => field === name.lower);
        for (const [, value] of values) req.headers.append(name, value);
      }
      const name = consumerField === undefined ? undefined : valueOf(answer, consumerField);
      if (name !== undefined && name !== "")
        identify(req, ctx, host.consumers.byName(name) ?? { name, plan: null, groups: [] });
      if (shown.size > 0) answers.set(ctx, answer);
      return undefined;
    };
    const fail = (error: unknown): Reply | undefined => {
      decisions.inc(["error"]);
      if (host.now() - complainedMs >= complainMs) {
        complainedMs = host.now();
        host.log.warn("the service that decides about access does not answer", {
          url: options.url,
          reason: error instanceof Error ? error.message : String(error),
          onError,
        });
      }
      return onError === "open" ? undefined : away;
    };
    const ask = async (fields: Pairs): Promise<AuthzAnswer> => {
      const answer = await service.ask(fields);
      if (answer.status < 200 || answer.status >= 500)
        throw new Error(`it answered with status ${answer.status}`);
      return answer;
    };
    const askOnce = (key: string, fields: Pairs): Promise<AuthzAnswer> => {
      let asking = running.get(key);
      if (asking === undefined) {
        asking = ask(fields)
          .then((answer) => {
            if (isStorable(answer)) cache.set(key, answer);
            return answer;
          })
          .finally(() => running.delete(key));
        running.set(key, asking);
      }
      return asking;
    };
    const answers = new WeakMap<Ctx, AuthzAnswer>();

    return {
      request(req, ctx) {
        const fields = toFields(req, ctx, sent);
        // what only the service may say is not taken from callers
        for (const name of taken) req.headers.delete(name);
        if (cacheMs <= 0) return ask(fields).then((answer) => conclude(req, ctx, answer), fail);
        const key = hash("sha256", JSON.stringify(fields), "base64");
        const known = cache.get(key);
        if (known !== undefined) return conclude(req, ctx, known);
        return askOnce(key, fields).then((answer) => conclude(req, ctx, answer), fail);
      },
      ...(shown.size === 0
        ? {}
        : {
            response(res, ctx) {
              for (const [name, value] of answers.get(ctx)?.fields ?? [])
                if (shown.has(name)) res.headers.append(name, value);
            },
          }),
      close() {
        service.close();
      },
    };
  },
});

type Pairs = readonly (readonly [string, string])[];

const ownFields =
  /^(host|content-length|transfer-encoding|connection|keep-alive|proxy-connection|te|trailer|upgrade|expect|forwarded|x-forwarded-.*|x-weft-.*)$/;

/** What the service is told: the request as Traefik and Envoy describe it, and its fields. */
function toFields(req: RequestHead, ctx: Ctx, sent: readonly string[] | null): Pairs {
  const fields: [string, string][] = [
    ["x-forwarded-method", req.method],
    ["x-forwarded-proto", req.scheme],
    ["x-forwarded-host", req.authority],
    ["x-forwarded-uri", req.target],
    ["x-forwarded-for", ctx.client.address],
  ];
  if (ctx.consumer !== null)
    fields.push(["x-weft-consumer", req.headers.get("x-weft-consumer") ?? ""]);
  if (ctx.peer !== null) fields.push(["x-weft-peer", ctx.peer.id]);
  if (sent === null) {
    for (const [name, value] of req.headers) if (!ownFields.test(name)) fields.push([name, value]);
  } else {
    for (const name of sent) {
      if (ownFields.test(name)) continue;
      for (const value of req.headers.getAll(name)) fields.push([name, value]);
    }
  }
  return fields;
}

const hopFields =
  /^(content-length|transfer-encoding|connection|keep-alive|proxy-connection|te|trailer|upgrade|date|server|x-weft-.*)$/;

/** The service's own answer, or a document of the catalogue where it has no body, or the caller cannot read one. */
function toReply({ status, fields, body }: AuthzAnswer, req: RequestHead): Reply {
  const passed = fields.filter(([name]) => !hopFields.test(name));
  if (status < 400 || (body.length > 0 && !req.isGrpc)) return new Reply(status, passed, body);
  const kept = passed.filter(([name]) => !name.startsWith("content-"));
  const detail = "the service that decides about access does not allow this";
  if (status === 401) {
    if (!kept.some(([name]) => name === "www-authenticate"))
      kept.push(["www-authenticate", 'Bearer realm="weft"']);
    return new Reply(status, kept, null, "unauthenticated", detail);
  }
  return new Reply(status, kept, null, status === 429 ? "rate-limited" : "forbidden", detail);
}

/** An answer that is for one caller alone is not kept. */
function isStorable(answer: AuthzAnswer): boolean {
  return !answer.fields.some(
    ([name, value]) =>
      name === "set-cookie" || (name === "cache-control" && /\b(no-store|no-cache)\b/i.test(value)),
  );
}

function valueOf(answer: AuthzAnswer, name: string): string | undefined {
  return answer.fields.find(([field]) => field === name)?.[1];
}
