/** Reads the request that is asked about, by the same rules as one that arrives. */

import { readAuthority, readTarget, splitAbsolute } from "../../proxy/http/target.ts";
import type { RouteQuery } from "../../proxy/route/table.ts";

/** The question of `weft explain` and `POST /explain`. */
export interface Question {
  readonly method: string;
  /** `http://host/path?query`, or a path together with a `host` header. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** The request as routing sees it. */
export interface AskedRequest extends RouteQuery {
  readonly scheme: "http" | "https";
  /** Host and port. */
  readonly authority: string;
  /** As it stands in the URL. */
  readonly target: string;
}

/** The request; or, as a sentence, why there can be none like it; `refused` when it would be answered 400. */
export type ReadQuestion =
  | { readonly ok: true; readonly request: AskedRequest }
  | { readonly ok: false; readonly refused: boolean; readonly reason: string };

/** Never throws: what is wrong is a sentence. */
export function readQuestion(question: Question): ReadQuestion {
  const headers = new Map<string, string>();
  for (const [name, value] of Object.entries(question.headers)) {
    headers.set(name.toLowerCase(), value);
  }
  const absolute = splitAbsolute(question.url);
  if (absolute === null && !question.url.startsWith("/")) {
    const reason = `${question.url} is neither http://host/path nor a path`;
    return { ok: false, refused: false, reason };
  }
  const parts = { target: "", path: "", query: "", authority: "", host: "" };
  // a fragment stays with whoever typed the URL
  const [typed = ""] = (absolute?.target ?? question.url).split("#");
  const refused =
    readAuthority(parts, absolute?.authority ?? headers.get("host") ?? "") ??
    readTarget(parts, typed);
  if (refused !== null) return { ok: false, refused: true, reason: refused };
  return {
    ok: true,
    request: {
      ...parts,
      method: question.method,
      scheme: absolute?.scheme ?? "http",
      header: (name) => (name === "host" ? parts.authority : headers.get(name)),
    },
  };
}
