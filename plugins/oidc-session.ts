/** Who is logged in: a session that lives in the visitor's own cookie, sealed, and nowhere else. */

import { hash } from "node:crypto";
import { clearChunks, readChunks, writeChunks } from "./chunked-cookie.ts";
import { Sealer } from "./sealed-text.ts";
import type { CookiePlace } from "./chunked-cookie.ts";
import type { ClaimSet } from "./jwt-claims.ts";
import type { Host, LocalCache, RequestHead } from "../proxy/pipeline/plugin.ts";

/** Times are milliseconds since 1970. */
export interface Session {
  readonly beganMs: number;
  /** When the tokens are to be renewed, with a refresh token. */
  readonly renewAtMs: number;
  /** When the tokens run out. */
  readonly tokensEndMs: number;
  readonly claims: ClaimSet;
  readonly refreshToken: string | null;
  /** For the provider, at logout. */
  readonly idToken: string | null;
  /** Only when it is forwarded. */
  readonly accessToken: string | null;
}

/** A session as a request shows it. */
export interface ShownSession {
  readonly session: Session;
  /** Sealed with a secret that is on its way out: it is to be sealed again. */
  readonly isOld: boolean;
  /** Stands for the cookie's text. */
  readonly key: string;
}

/** Cookies that need not be opened again, and for how long. */
const memory = { max: 2048, ttlMs: 60_000 };

/** Reads and writes sessions. */
export class Sessions {
  private readonly sealer: Sealer;
  private readonly name: string;
  private readonly maxAgeMs: number;
  private readonly opened: LocalCache<ShownSession>;
  private readonly host: Host;

  constructor(
    host: Host,
    options: { name: string; secrets: readonly string[]; purpose: string; maxAgeMs: number },
  ) {
    this.host = host;
    this.name = options.name;
    this.maxAgeMs = options.maxAgeMs;
    this.sealer = new Sealer(options.secrets, `weft session ${options.purpose}`);
    this.opened = host.local("sessions", memory);
  }

  /** Null: none, or none that holds. */
  read(req: RequestHead): ShownSession | null {
    const sealed = readChunks(req, this.name);
    if (sealed === undefined) return null;
    const key = hash("sha256", sealed, "base64");
    let shown = this.opened.get(key);
    if (shown === undefined) {
      const found = this.sealer.open(sealed);
      if (found === null) return null;
      const session = JSON.parse(found.text) as Session;
      this.opened.set(key, (shown = { session, isOld: found.isOld, key }));
    }
    return this.host.wallNow() < shown.session.beganMs + this.maxAgeMs ? shown : null;
  }

  /** Values of Set-Cookie; chunks of a longer one before are removed. Null: it is too large for cookies. */
  write(req: RequestHead, session: Session, secure: boolean): string[] | null {
    const place = this.place(secure);
    const leftMs = session.beganMs + this.maxAgeMs - this.host.wallNow();
    const write = (one: Session): string[] | null =>
      writeChunks(place, this.sealer.seal(JSON.stringify(one)), leftMs / 1000);
    // the identity token only makes logging out smoother
    const written = write(session) ?? write({ ...session, idToken: null });
    if (written === null) return null;
    const names = new Set(written.map(nameOf));
    return [...clearChunks(req, place).filter((one) => !names.has(nameOf(one))), ...written];
  }

  /** Values of Set-Cookie that end the session. */
  clear(req: RequestHead, secure: boolean): string[] {
    return clearChunks(req, this.place(secure));
  }

  private place(secure: boolean): CookiePlace {
    return { name: this.name, path: "/", secure };
  }
}

const nameOf = (cookie: string): string => cookie.slice(0, cookie.indexOf("="));
