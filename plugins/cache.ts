/** A shared cache (RFC 9111) in memory, the same in all workers: fresh answers without asking, stale ones asked about. */

import { z } from "zod";
import { Fields as FieldList } from "../proxy/http/fields.ts";
import { definePlugin, problem, Reply, slot } from "../proxy/pipeline/plugin.ts";
import { directiveMs, isNotModified, readDirectives, termsOf } from "./cache-rules.ts";
import { CacheChannel, ownBody } from "./cache-channel.ts";
import { Leads } from "./cache-leads.ts";
import { CacheStore, varyOf } from "./cache-store.ts";
import { durationOption, sizeOption } from "./options.ts";
import type { Lead } from "./cache-leads.ts";
import type { Terms } from "./cache-rules.ts";
import type { Kept } from "./cache-store.ts";
import type {
  Ctx,
  Fields,
  OtherAnswer,
  RequestHead,
  ResponseHead,
} from "../proxy/pipeline/plugin.ts";

const config = z.strictObject({
  size: sizeOption().default(64 * 1024 * 1024),
  ttl: durationOption().optional(),
  methods: z
    .array(z.enum(["GET", "HEAD"]))
    .min(1)
    .default(["GET", "HEAD"]),
});

const safe = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);
/** Of the connection, or weft's own to say. */
const unkept = new Set(
  "connection keep-alive proxy-connection proxy-authenticate te trailer proxy-authentication-info transfer-encoding upgrade content-length age".split(
    " ",
  ),
);
/** After an answer that was not kept, requests for it do not wait for each other. Milliseconds. */
const unkeptMs = 10_000;

/** What a request means to the cache. */
interface Asking {
  readonly key: string;
  readonly generation: number;
  /** Asked about, or of use when the service fails. */
  readonly kept: Kept | null;
  readonly ifNoneMatch: string | undefined;
  readonly ifModifiedSince: string | undefined;
  /** Others wait for this answer; null: nobody does. */
  readonly lead: Lead | null;
}

/** An answer on its way into the cache. */
interface Keeping {
  readonly asking: Asking;
  readonly head: Omit<Kept, "body">;
  chunks: Buffer[];
  bytes: number;
}

/** Some cache of this route keeps the body. */
const KeepsBody = slot<true>("cache.body");

export default definePlugin({
  name: "cache",
  stage: "transform",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  // innermost: others see a kept answer as they see the service's
  after: ["headers", "compress", "validate", "security-headers", "csrf", "bot"],
  perRoute: true,
  timeout: "30s",
  config,
  body: { response: { keeps: true, when: (_head, ctx) => ctx.get(KeepsBody) === true } },
  setup({ size, ttl, methods }, host) {
    const store = new CacheStore(size);
    const name = `${host.mode} ${host.route ?? ""} ${host.id}`;
    const unkeptKeys = host.local<true>("unkept", { max: 10_000, ttlMs: unkeptMs });
    const leads = new Leads(host.gate({ id: `cache ${name}`, limit: 1 }), (key) =>
      channel.tellOver(key, unkeptKeys.get(key) === true),
    );
    const channel = new CacheChannel(name, host, {
      onKept: (key, kept) => store.put(key, kept),
      onDropped: (key) => store.delete(key),
      onOver(key, isUnkept) {
        if (isUnkept) unkeptKeys.set(key, true);
        leads.get(key)?.end();
      },
    });
    const keep = (key: string, kept: Kept): void => {
      store.put(key, kept);
      channel.tellKept(key, kept);
    };
    const drop = (key: string): void => {
      store.delete(key);
      channel.tellDropped(key);
    };
    const generations = host.generations();
    const AskingSlot = slot<Asking>(`cache.asking.${host.id}`);
    const KeepingSlot = slot<Keeping>(`cache.keeping.${host.id}`);
    const requests = host.counter("cache_requests", ["route", "result"]);
    const count = (result: string): void => requests.inc([host.route ?? "", result]);
    const endLead = ({ lead }: Asking): void => lead?.end();

    const judge = (
      head: Pick<OtherAnswer, "status" | "headers">,
      requestHeaders: Fields,
      since: { readonly startMs: number; readonly isPersonal: boolean },
    ): Terms | null =>
      termsOf({
        ...since,
        status: head.status,
        headers: head.headers,
        requestHeaders,
        wallMs: host.wallNow(),
        delayMs: Math.max(0, host.now() - since.startMs),
        ttlMs: ttl ?? null,
      });

    /** A 304 has come about what is kept. Null: it must not be kept any more. */
    const renew = (
      kept: Kept,
      headers: Fields,
      requestHeaders: Fields,
      since: {
        readonly startMs: number;
        readonly isPersonal: boolean;
        readonly generation: number;
      },
    ): Kept | null => {
      const news = keptHeaders(headers).filter(([name]) => !unrenewed.has(name.toLowerCase()));
      const renewed = new Set(news.map(([name]) => name.toLowerCase()));
      const old = kept.headers.filter(([name]) => !renewed.has(name.toLowerCase()));
      const all = [...old, ...news];
      for (const [name, value] of old) headers.set(name, value);
      const terms = judge({ status: kept.status, headers }, requestHeaders, since);
      if (terms === null) return null;
      const { generation } = since;
      return { ...kept, headers: all, terms, arrivedMs: host.now(), generation };
    };

    /** Asks the service beside the exchange, which has its (stale) answer already. */
    const refresh = async (
      key: string,
      kept: Kept,
      generation: number,
      ctx: Ctx,
    ): Promise<void> => {
      const since = { startMs: host.now(), isPersonal: false, generation };
      const asked = copyOf(ctx.req.headers);
      const change = (headers: Fields): void => {
        headers.delete("if-none-match");
        headers.delete("if-modified-since");
        if (kept.terms.hasValidator) askAbout(kept, headers);
      };
      const answered = await ctx.again(change, store.largestBytes);
      if (answered?.source === "upstream" && answered.status < 500) {
        const { status, headers, body } = answered;
        if (status === 304) {
          const renewed = renew(kept, headers, asked, since);
          if (renewed === null) drop(key);
          else keep(key, renewed);
        } else {
          const terms = judge(answered, asked, since);
          if (terms === null) drop(key);
          else {
            const vary = varyOf(headers.get("vary"), asked);
            const fields = keptHeaders(headers);
            const arrivedMs = host.now();
            const own = ownBody([body], body.length);
            keep(key, { status, headers: fields, body: own, terms, arrivedMs, vary, generation });
          }
        }
      }
    };

    /** Everything about a request for which the cache may answer. */
    const look = (
      req: RequestHead,
      ctx: Ctx,
      mayWait: boolean,
    ): Reply | undefined | Promise<Reply | undefined> => {
      const key = `${req.scheme}://${req.host}${req.target}`;
      const generation = generations.of(pathKey(req.host, req.path));
      const said = readDirectives(req.headers.get("cache-control"));
      const found = store.find(key, req.headers);
      const kept = found !== null && found.generation === generation ? found : null;
      const ifNoneMatch = req.headers.get("if-none-match");
      const ifModifiedSince = req.headers.get("if-modified-since");
      const use = kept === null ? "no" : usability(kept, req, said, host.now());
      if (kept !== null && use === "yes") {
        count("hit");
        return answer(kept, { ifNoneMatch, ifModifiedSince }, req, host.now(), "hit");
      }
      if (said.has("only-if-cached"))
        return problem(
          "deadline-exceeded",
          504,
          "the caller wants a kept answer only, and there is none",
        );
      const mayLead =
        req.method === "GET" && !isPersonal(req, ctx) && unkeptKeys.get(key) === undefined;
      let leader = mayLead ? leads.get(key) : undefined;
      if (kept !== null && use === "while-asking" && mayLead) {
        count("stale");
        const lead = leader === undefined ? leads.take(key) : null;
        if (lead !== null) void refresh(key, kept, generation, ctx).finally(() => lead.end());
        return answer(kept, { ifNoneMatch, ifModifiedSince }, req, host.now(), "hit; fwd=stale");
      }
      const lead = mayLead && leader === undefined ? leads.take(key) : null;
      if (mayLead && mayWait && lead === null) {
        leader ??= leads.follow(key);
        return leads.wait(leader).then(() => look(req, ctx, false));
      }
      const asking = { key, generation, kept, ifNoneMatch, ifModifiedSince, lead };
      ctx.set(AskingSlot, asking);
      count(kept === null ? "miss" : "revalidate");
      if (kept !== null && kept.terms.hasValidator && req.method === "GET")
        askAbout(kept, req.headers);
      return undefined;
    };

    const createKeeping = (
      asking: Asking,
      req: RequestHead,
      res: ResponseHead,
      ctx: Ctx,
    ): Keeping | null => {
      if (req.method !== "GET" || res.source !== "upstream") return null;
      if (res.contentLength > store.largestBytes) return null;
      const { startMs, consumer } = ctx;
      const terms = judge(res, req.headers, { startMs, isPersonal: consumer !== null });
      if (terms === null) return null;
      const head = {
        status: res.status,
        headers: keptHeaders(res.headers),
        terms,
        arrivedMs: host.now(),
        vary: varyOf(res.headers.get("vary"), req.headers),
        generation: asking.generation,
      };
      return { asking, head, chunks: [], bytes: 0 };
    };

    return {
      request(req, ctx) {
        if (!(methods as string[]).includes(req.method) || req.upgrade !== null || req.isGrpc)
          return undefined;
        if (req.headers.has("range") || req.framing !== "none") return undefined;
        return look(req, ctx, true);
      },
      response(res, ctx) {
        const { req } = ctx;
        if (!safe.has(req.method)) {
          if (res.source === "upstream" && res.status < 400) empty(req, res, generations);
          return undefined;
        }
        const asking = ctx.get(AskingSlot);
        if (asking === undefined) return undefined;
        const { kept, key } = asking;
        const asked = { ifNoneMatch: asking.ifNoneMatch, ifModifiedSince: asking.ifModifiedSince };
        if (
          res.status === 304 &&
          res.source === "upstream" &&
          // the caller's own conditions were replaced: it is about what is kept
          kept?.terms.hasValidator === true &&
          req.method === "GET"
        ) {
          const { generation } = asking;
          const since = { startMs: ctx.startMs, isPersonal: ctx.consumer !== null, generation };
          const fresh = renew(kept, res.headers, req.headers, since);
          if (fresh === null) drop(key);
          else keep(key, fresh);
          endLead(asking);
          return answer(fresh ?? kept, asked, req, host.now(), "fwd=stale; fwd-status=304");
        }
        if (res.status >= 500 && kept !== null && mayStandIn(kept, req, host.now())) {
          endLead(asking);
          count("stale");
          return answer(kept, asked, req, host.now(), `hit; fwd=stale; fwd-status=${res.status}`);
        }
        const keeping = createKeeping(asking, req, res, ctx);
        if (keeping === null) {
          if (req.method === "GET" && res.source === "upstream" && res.status !== 304)
            unkeptKeys.set(key, true);
          endLead(asking);
        } else if (res.framing === "none" || res.status === 204) {
          keep(key, { ...keeping.head, body: ownBody([], 0) });
          endLead(asking);
        } else {
          ctx.set(KeepingSlot, keeping);
          ctx.set(KeepsBody, true);
        }
        if (res.source === "upstream")
          res.headers.append(
            "cache-status",
            `weft; fwd=${kept === null ? "miss" : "stale"}${keeping === null ? "" : "; stored"}`,
          );
        return undefined;
      },
      responseBody(chunk: Uint8Array, ctx: Ctx, last: boolean) {
        const keeping = ctx.get(KeepingSlot);
        if (keeping === undefined) return undefined;
        keeping.bytes += chunk.length;
        if (keeping.bytes > store.largestBytes) {
          keeping.chunks = [];
          endLead(keeping.asking);
        } else if (chunk.length > 0) keeping.chunks.push(Buffer.from(chunk));
        if (!last || keeping.bytes > store.largestBytes) return undefined;
        const body = ownBody(keeping.chunks, keeping.bytes);
        keep(keeping.asking.key, { ...keeping.head, body });
        endLead(keeping.asking);
        return undefined;
      },
      error(error, ctx) {
        const asking = ctx.get(AskingSlot);
        if (asking?.kept == null || error.code === "client-closed") return undefined;
        if (!mayStandIn(asking.kept, ctx.req, host.now())) return undefined;
        count("stale");
        return answer(asking.kept, asking, ctx.req, host.now(), "hit; fwd=stale");
      },
      done(_end, ctx) {
        const asking = ctx.get(AskingSlot);
        if (asking !== undefined) endLead(asking);
      },
      close() {
        channel.close();
        store.clear();
      },
    };
  },
});

function ageMs(kept: Kept, nowMs: number): number {
  return kept.terms.ageMs + Math.max(0, nowMs - kept.arrivedMs);
}

/** `while-asking`: stale, and good enough while another request asks. */
function usability(
  kept: Kept,
  req: RequestHead,
  said: ReturnType<typeof readDirectives>,
  nowMs: number,
): "yes" | "while-asking" | "no" {
  const { terms } = kept;
  const pragma = said.size === 0 && /\bno-cache\b/i.test(req.headers.get("pragma") ?? "");
  if (terms.mustAsk || said.has("no-cache") || said.has("no-store") || pragma) return "no";
  const age = ageMs(kept, nowMs);
  const most = directiveMs(said, "max-age");
  if (most !== undefined && age > most) return "no";
  const left = terms.freshMs - age;
  if (left > 0 && left >= (directiveMs(said, "min-fresh") ?? 0)) return "yes";
  if (left > 0 || terms.mustRevalidate) return "no";
  if (said.has("max-stale")) {
    const staleMs = said.get("max-stale") === "" ? Infinity : directiveMs(said, "max-stale")!;
    if (-left <= staleMs) return "yes";
  }
  return -left <= terms.staleWhileRevalidateMs ? "while-asking" : "no";
}

/** For a service that fails. */
function mayStandIn(kept: Kept, req: RequestHead, nowMs: number): boolean {
  const { terms } = kept;
  if (terms.mustAsk || terms.mustRevalidate) return false;
  const said = readDirectives(req.headers.get("cache-control"));
  const forMs = Math.max(terms.staleIfErrorMs, directiveMs(said, "stale-if-error") ?? 0);
  return ageMs(kept, nowMs) - terms.freshMs <= forMs;
}

interface Asked {
  readonly ifNoneMatch: string | undefined;
  readonly ifModifiedSince: string | undefined;
}

function answer(kept: Kept, asked: Asked, req: RequestHead, nowMs: number, how: string): Reply {
  const { terms } = kept;
  const age = ageMs(kept, nowMs);
  const left = Math.trunc((terms.freshMs - age) / 1000);
  const own = [
    ["age", String(Math.floor(age / 1000))],
    ["cache-status", `weft; ${how}; ttl=${left}`],
  ] as const;
  const validators = {
    etag: headerOf(kept, "etag"),
    lastModified: headerOf(kept, "last-modified"),
  };
  if (kept.status === 200 && isNotModified(asked, validators)) {
    const headers = kept.headers.filter(([name]) => !/^content-(?!location$)/i.test(name));
    return new Reply(304, [...headers, ...own], null);
  }
  return new Reply(kept.status, [...kept.headers, ...own], kept.body);
}

/** Asks the service whether what is kept still holds; the caller's own conditions are answered from it. */
function askAbout(kept: Kept, headers: Fields): void {
  const etag = headerOf(kept, "etag");
  const lastModified = headerOf(kept, "last-modified");
  headers.delete("if-none-match");
  headers.delete("if-modified-since");
  if (etag !== undefined) headers.set("if-none-match", etag);
  if (lastModified !== undefined) headers.set("if-modified-since", lastModified);
}

/** What a 304 says of these is about another body (RFC 9111 section 3.2). */
const unrenewed = new Set([
  "etag",
  "content-encoding",
  "content-range",
  "content-md5",
  "content-digest",
]);

function headerOf(kept: Kept, name: string): string | undefined {
  return kept.headers.find(([one]) => one.toLowerCase() === name)?.[1];
}

/** Fields of several lines become one. */
function keptHeaders(headers: Fields): Kept["headers"] {
  const named = (headers.get("connection") ?? "").toLowerCase().split(",");
  const left = new Set([...unkept, ...named.map((name) => name.trim())]);
  const seen = new Map<string, readonly [string, string]>();
  for (const [name] of headers) {
    const lower = name.toLowerCase();
    if (!left.has(lower) && !seen.has(lower)) seen.set(lower, [name, headers.get(name) ?? ""]);
  }
  return [...seen.values()];
}

/** An unsafe method went through: what it may have changed is old now, in every worker, queries and all. */
function empty(
  req: RequestHead,
  res: ResponseHead,
  generations: { advance(key: string): void },
): void {
  generations.advance(pathKey(req.host, req.path));
  for (const name of ["location", "content-location"]) {
    const text = res.headers.get(name);
    if (text === undefined) continue;
    const url = URL.parse(text, `${req.scheme}://${req.host}${req.target}`);
    if (url !== null && url.hostname === hostOf(req.host))
      generations.advance(pathKey(req.host, url.pathname));
  }
}

/** What a generation is kept for: a path with all its queries. */
export function pathKey(host: string, path: string): string {
  return `${hostOf(host)}${path}`;
}

function hostOf(host: string): string {
  return host.toLowerCase().replace(/:\d+$/, "");
}

function isPersonal(req: RequestHead, ctx: Ctx): boolean {
  return ctx.consumer !== null || req.headers.has("authorization");
}

/** Outlives the exchange. */
function copyOf(headers: Fields): Fields {
  const copy = new FieldList();
  for (const [name, value] of headers)
    if (!unkept.has(name.toLowerCase())) copy.append(name, value);
  return copy;
}
