/** Who may speak to the admin API: the token, the Host field (DNS rebinding), other sites' pages (CSRF), and what pages of ours may do (CSP). */

import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import type { MiddlewareHandler } from "hono";
import { problemResponse } from "./problem.ts";

/** True for names and addresses that never leave this machine: `localhost`, 127.0.0.0/8, `::1`. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, "").toLowerCase();
  if (bare === "localhost" || bare === "::1") return true;
  const v4 = bare.startsWith("::ffff:") ? bare.slice(7) : bare;
  return isIP(v4) === 4 && v4.startsWith("127.");
}

/**
 * Refuses a request whose Host is not this machine when the API is bound to loopback: a page on evil.example whose
 * name resolves to 127.0.0.1 would else read everything (DNS rebinding). Off loopback the token stands guard.
 */
export function checkHost(boundHost: string): MiddlewareHandler {
  const local = isLoopback(boundHost);
  return async (c, next) => {
    const host = hostname(c.req.header("host") ?? new URL(c.req.url).host);
    if (local && (host === null || !isLoopback(host))) {
      return problemResponse(
        403,
        "forbidden",
        `the admin API answers to localhost only, not to "${(host ?? "").slice(0, 100)}"`,
      );
    }
    const origin = c.req.header("origin");
    const site = c.req.header("sec-fetch-site");
    const foreign =
      origin !== undefined &&
      originHost(origin) !== (c.req.header("host") ?? new URL(c.req.url).host);
    if (foreign || (site === "cross-site" && c.req.method !== "GET" && c.req.method !== "HEAD")) {
      return problemResponse(403, "forbidden", "pages of other sites may not use the admin API");
    }
    return next();
  };
}

function hostname(host: string): string | null {
  if (!/^[a-zA-Z0-9.:[\]_-]+$/.test(host)) return null;
  try {
    return new URL(`http://${host}/`).hostname;
  } catch {
    return null;
  }
}

function originHost(origin: string): string | null {
  try {
    return new URL(origin).host;
  } catch {
    return null;
  }
}

/** True when the request carries `authorization: Bearer TOKEN` with the right token; compared in constant time. */
export function hasToken(authorization: string | undefined, token: string): boolean {
  const match = /^Bearer +([^ ]+) *$/i.exec(authorization ?? "");
  if (match === null) return false;
  return timingSafeEqual(digest(match[1] ?? ""), digest(token));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** Requires the token on every path that is not in `open`. Null: no token is configured, everything is open. */
export function checkToken(token: string | null, open: ReadonlySet<string>): MiddlewareHandler {
  return async (c, next) => {
    if (token === null || open.has(c.req.path) || hasToken(c.req.header("authorization"), token))
      return next();
    const detail =
      c.req.header("authorization") === undefined
        ? 'send "authorization: Bearer" with the token of admin.token'
        : "the token is wrong";
    return problemResponse(401, "unauthenticated", detail, {
      headers: { "www-authenticate": 'Bearer realm="weft admin"' },
    });
  };
}

const pageHeaders: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
};

/** Adds the headers that keep pages honest; answers are never stored. */
export const harden: MiddlewareHandler = async (c, next) => {
  await next();
  for (const [name, value] of Object.entries(pageHeaders)) c.res.headers.set(name, value);
  if (!c.res.headers.has("cache-control")) c.res.headers.set("cache-control", "no-store");
};
