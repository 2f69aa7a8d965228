/** Talks to the admin API of a running weft, for the commands that show and ask. */

import { CommandError, exitCodes } from "./exit.ts";

/** Where a running weft's admin API is when `--admin` does not say. */
export const defaultAdmin = "127.0.0.1:9901";

/** Base URL of `--admin`: `host:port`, `:port`, or a URL. */
export function adminUrl(address: string): URL {
  const text = address.startsWith(":") ? `127.0.0.1${address}` : address;
  const url = URL.parse(/^https?:\/\//.test(text) ? text : `http://${text}`);
  if (url === null || url.hostname === "") {
    throw new CommandError(
      exitCodes.usage,
      `--admin ${address}: expected HOST:PORT, like ${defaultAdmin}`,
    );
  }
  return url;
}

/** What a request sends besides its path. */
interface Sending {
  readonly method?: "GET" | "POST" | "PUT";
  readonly json?: unknown;
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * Asks the admin API and gives its JSON. The token comes from `WEFT_ADMIN_TOKEN`.
 * @throws {CommandError} no connection (exit code 3), or what the admin API has against the request (1)
 */
export async function askAdmin(
  address: string,
  path: string,
  sending: Sending = {},
): Promise<unknown> {
  const base = adminUrl(address);
  const token = (sending.env ?? process.env).WEFT_ADMIN_TOKEN;
  const headers: Record<string, string> = { accept: "application/json" };
  if (token !== undefined && token !== "") headers.authorization = `Bearer ${token}`;
  if (sending.json !== undefined) headers["content-type"] = "application/json";
  let response: Response;
  let text: string;
  try {
    response = await fetch(new URL(path, base), {
      method: sending.method ?? "GET",
      headers,
      ...(sending.json === undefined ? {} : { body: JSON.stringify(sending.json) }),
      redirect: "error",
      signal: AbortSignal.timeout(10_000),
    });
    text = await response.text();
  } catch (error) {
    throw new CommandError(
      exitCodes.connect,
      `no weft answers at ${base.host} (${reason(error)})\nIs it running? --admin HOST:PORT names another address.`,
    );
  }
  const body = parse(text);
  if (response.ok && body !== undefined) return body;
  if (response.status === 401) {
    throw new CommandError(
      exitCodes.input,
      `${base.host} wants its admin token: set WEFT_ADMIN_TOKEN`,
    );
  }
  if (body === undefined) {
    throw new CommandError(
      exitCodes.connect,
      `${base.host} is not weft's admin API: ${path} answered ${response.status}`,
    );
  }
  const detail =
    typeof body === "object" && body !== null && "detail" in body ? String(body.detail) : text;
  throw new CommandError(exitCodes.input, `${base.host} answered ${response.status}: ${detail}`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function reason(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  if (cause instanceof Error && "code" in cause && typeof cause.code === "string")
    return cause.code;
  return cause instanceof Error ? cause.message : String(cause);
}
