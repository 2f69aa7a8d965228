/** The admin API (CONTRACT section 6) and the dashboard, on Hono; runs on the main thread, never in the data path. */

import { Hono, type Context as Exchange } from "hono";
import { readText } from "./body.ts";
import { describeCertificates } from "./certificates.ts";
import { describeLimits, describePlugins, describeRoutes, describeServices } from "./describe.ts";
import { readExposition } from "./exposition.ts";
import { checkHost, checkToken, harden, hasToken } from "./guard.ts";
import { pageAssets } from "./page.ts";
import { problemResponse, rejectedResponse } from "./problem.ts";
import { readQuestion } from "./question.ts";
import { logLevels, type AdminSource, type AppliedConfig, type LogLevel } from "./source.ts";
import { summarise } from "./summary.ts";
import { writeConfig } from "./written.ts";

export interface AdminOptions {
  /** The address it will be bound to: decides which Host fields are believed. */
  readonly host: string;
  /** Null: open to everyone who can connect (loopback only; the caller refuses to start otherwise). */
  readonly token: string | null;
  /** weft's own version. */
  readonly version: string;
  /** Something that must not happen did; the caller got a 500. */
  readonly onError?: (error: unknown) => void;
}

/** Largest body of `PUT /config`, in bytes: 10,000 routes are about 3 MiB. */
const configLimitBytes = 16 * 1024 * 1024;
const bodyLimitBytes = 64 * 1024;

/** Probes answer without the token, but then only with a word; the page and its files hold no data. */
const openPaths = new Set(["/livez", "/readyz", "/", ...pageAssets.keys()]);

/** Builds the app; serve it with {@link import('./server.ts').listenAdmin}, or call its `fetch` in a test. */
export function createAdmin(source: AdminSource, options: AdminOptions): Hono {
  const app = new Hono();
  app.use(harden, checkHost(options.host), checkToken(options.token, openPaths));
  app.onError((error) => {
    options.onError?.(error);
    return problemResponse(
      500,
      "internal-error",
      "the admin API failed; the log of weft has the cause",
    );
  });
  app.notFound((c) =>
    problemResponse(404, "not-found", `the admin API has no ${c.req.path.slice(0, 200)}`),
  );

  addProbes(app, source, options);
  addViews(app, source, options);
  addActions(app, source);
  for (const [path, asset] of pageAssets) {
    app.get(
      path,
      () =>
        new Response(asset.body, {
          headers: { "content-type": asset.type, "cache-control": "no-cache" },
        }),
    );
  }
  refuseOtherMethods(app);
  return app;
}

function tooLarge(limitBytes: number): Response {
  return problemResponse(413, "body-too-large", `the body may have at most ${limitBytes} bytes`, {
    headers: { connection: "close" },
  });
}

/** `/livez` and `/readyz`: details only for those who may see the rest. */
function addProbes(app: Hono, source: AdminSource, options: AdminOptions): void {
  const trusted = (c: Exchange) =>
    options.token === null || hasToken(c.req.header("authorization"), options.token);
  app.get("/livez", (c) => {
    const live = source.live();
    return c.json({ status: live ? "live" : "failed" }, live ? 200 : 503);
  });
  app.get("/readyz", (c) => {
    const { ready, lastRejected, ...rest } = source.readiness();
    const status = ready ? "ready" : rest.draining ? "draining" : "not ready";
    if (!trusted(c)) return c.json({ status }, ready ? 200 : 503);
    const rejected =
      lastRejected === null
        ? null
        : { at: new Date(lastRejected.atMs).toISOString(), problems: lastRejected.problems };
    return c.json({ status, ready, ...rest, lastRejected: rejected }, ready ? 200 : 503);
  });
}

/** Everything that only shows. */
function addViews(app: Hono, source: AdminSource, options: AdminOptions): void {
  const shown = (show: (applied: AppliedConfig, c: Exchange) => unknown) => async (c: Exchange) => {
    const applied = source.current();
    if (applied === null)
      return problemResponse(503, "unavailable", "no configuration is in effect yet");
    return c.json(await show(applied, c));
  };
  app.get(
    "/metrics",
    () =>
      new Response(source.metrics(), {
        headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
      }),
  );
  app.get(
    "/config",
    shown((applied, c) => {
      c.header("etag", etagOf(source, applied.version));
      return {
        version: applied.version,
        etag: etagOf(source, applied.version),
        origin: applied.origin,
        appliedAt: new Date(applied.appliedAtMs).toISOString(),
        config: writeConfig(applied.config),
      };
    }),
  );
  app.get(
    "/routes",
    shown(({ config }) => describeRoutes(config, source.mode)),
  );
  app.get(
    "/services",
    shown(({ config }) => describeServices(config, source.mode, (name) => source.endpoints(name))),
  );
  app.get(
    "/plugins",
    shown(({ config }) => describePlugins(config)),
  );
  app.get(
    "/certs",
    shown(({ config }) => describeCertificates(config)),
  );
  app.get(
    "/limits",
    shown(({ config }) => {
      const counts = new Map<string, number>();
      for (const { labels, value } of readExposition(
        source.metrics(),
        (name) => name === "weft_rate_limited_total",
      )) {
        counts.set(`${labels.route}\n${labels.policy}`, value);
      }
      const limited = (route: string, policy: string): number =>
        counts.get(`${route}\n${policy}`) ?? 0;
      return describeLimits(config, limited, source.refused?.() ?? []);
    }),
  );
  app.get("/version", (c) =>
    c.json({
      name: "weft",
      version: options.version,
      node: process.versions.node,
      mode: source.mode,
    }),
  );
  app.get("/dashboard.json", (c) => c.json(summarise(source, Date.now())));
}

function nothingYet(): Response {
  return problemResponse(503, "unavailable", "no configuration is in effect yet");
}

/** Everything that asks or changes something. */
function addActions(app: Hono, source: AdminSource): void {
  app.post("/explain", async (c) => {
    const text = await readText(c.req.raw, bodyLimitBytes);
    if (text === null) return tooLarge(bodyLimitBytes);
    const question = readQuestion(text);
    if (typeof question === "string") return problemResponse(400, "bad-request", question);
    const config = source.current()?.config;
    if (config === undefined) return nothingYet();
    // Loaded when first asked: it needs the whole compiler.
    const { explainApart } = await import("../explain/apart.ts");
    const endpoints = (service: string) => source.endpoints(service);
    const answer = await explainApart(config, question, { mode: source.mode, endpoints });
    return typeof answer === "string"
      ? problemResponse(400, "bad-request", answer)
      : c.json(answer);
  });
  app.post("/reload", async (c) => {
    const result = await source.reload();
    return result.ok
      ? c.json({ result: "applied", version: result.version })
      : rejectedResponse(result.problems);
  });
  app.post("/purge", async (c) => {
    const text = await readText(c.req.raw, bodyLimitBytes);
    if (text === null) return tooLarge(bodyLimitBytes);
    const url = readPurge(text);
    if (url === undefined)
      return problemResponse(
        400,
        "bad-request",
        'send { "url": "http://host/path" } for a path with all its queries, or { "all": true }',
      );
    source.purge?.(url);
    return c.json({ purged: url === null ? "all" : `${url.host}${url.pathname}` });
  });
  app.post("/drain", (c) => {
    source.drain();
    return c.json({ draining: true }, 202);
  });
  app.put("/log-level", async (c) => {
    const text = await readText(c.req.raw, bodyLimitBytes);
    if (text === null) return tooLarge(bodyLimitBytes);
    const level = readLevel(text);
    if (level === null)
      return problemResponse(
        400,
        "bad-request",
        `send { "level": L } with L one of ${logLevels.join(", ")}`,
      );
    source.setLogLevel(level);
    return c.json({ level: source.logLevel });
  });
  app.put("/config", (c) => putConfig(c, source));
}

/**
 * Replaces the whole configuration. `If-Match` may be left out (then the last writer wins); a stale one is 412.
 * Two at once: the second sees the version of the first, since one is applied after the other.
 */
async function putConfig(c: Exchange, source: AdminSource): Promise<Response> {
  const text = await readText(c.req.raw, configLimitBytes);
  if (text === null) return tooLarge(configLimitBytes);
  const stale = () => {
    const version = source.current()?.version ?? 0;
    if (matches(c.req.header("if-match"), etagOf(source, version))) return null;
    const detail = `the configuration in effect is version ${version} (${etagOf(source, version)}): read it again, then send yours`;
    return problemResponse(412, "stale-config", detail, {
      headers: { etag: etagOf(source, version) },
      members: { version },
    });
  };
  const previous = turns.get(source) ?? Promise.resolve();
  const turn = previous.then(async () => {
    const refusal = stale();
    if (refusal !== null) return refusal;
    const result = await source.apply(text);
    if (!result.ok) return rejectedResponse(result.problems);
    const etag = etagOf(source, result.version);
    c.header("etag", etag);
    return c.json({ result: "applied", version: result.version, etag });
  });
  turns.set(
    source,
    turn.catch(() => {}),
  );
  return turn;
}

/** The last `PUT /config` of each process: the next waits for it. */
const turns = new WeakMap<AdminSource, Promise<unknown>>();

/** One per process and version: a restarted process never takes an old one for its own. */
function etagOf(source: AdminSource, version: number): string {
  return `"${source.startedAtMs.toString(36)}-${version}"`;
}

/** RFC 9110 section 13.1.1; an entity tag without quotes is taken too. */
function matches(ifMatch: string | undefined, etag: string): boolean {
  if (ifMatch === undefined || ifMatch.trim() === "*") return true;
  return ifMatch.split(",").some((tag) => tag.trim() === etag || `"${tag.trim()}"` === etag);
}

/** Null: everything; undefined: not understood. */
function readPurge(text: string): URL | null | undefined {
  try {
    const { url, all } = JSON.parse(text) as { url?: unknown; all?: unknown };
    if (all === true && url === undefined) return null;
    return typeof url === "string" ? (URL.parse(url) ?? undefined) : undefined;
  } catch {
    return undefined;
  }
}

/** `{ "level": "debug" }`, `"debug"` or `debug`. */
function readLevel(text: string): LogLevel | null {
  let level: unknown = text.trim();
  try {
    const value: unknown = JSON.parse(text);
    level = typeof value === "object" && value !== null && "level" in value ? value.level : value;
  } catch {
    // A bare word.
  }
  return logLevels.find((known) => known === level) ?? null;
}

/** 405 with `Allow` for a path that exists with another method. */
function refuseOtherMethods(app: Hono): void {
  const allowed = new Map<string, string[]>();
  for (const { path, method } of app.routes) {
    if (method === "ALL") continue;
    const methods = allowed.get(path) ?? [];
    methods.push(...(method === "GET" ? ["GET", "HEAD"] : [method]));
    allowed.set(path, methods);
  }
  for (const [path, methods] of allowed) {
    const allow = methods.join(", ");
    app.all(path, (c) =>
      problemResponse(405, "method-not-allowed", `${path} takes ${allow}, not ${c.req.method}`, {
        headers: { allow },
      }),
    );
  }
}
