/** Where the keys of `jwt` come from: given ones, a file, a URL, an issuer's metadata. */

import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { releaseKeys, shareKeys } from "./jwks.ts";
import { keyFromJwk, keyFromPem, keyFromSecret, keysFromSet } from "./jwt-keys.ts";
import type { KeySetPlace, RemoteKeys } from "./jwks.ts";
import type { VerifyKey } from "./jwt-keys.ts";
import type { Host } from "../proxy/pipeline/plugin.ts";

/** How often a JWKS file is looked at. */
const filePollMs = 5000;

/** All keys of one instance. */
export interface TokenKeys {
  readonly keys: readonly VerifyKey[];
  /** Counts up when keys change. */
  readonly version: number;
  readonly hasSecret: boolean;
  /** Why the source of the keys counts as away; null when it does not. */
  readonly awayReason: string | null;
  /** Renews in the background what is old. */
  keepFresh(): void;
  /** Looks for new keys, soon; null when there is nowhere to look. */
  lookUp(): Promise<void> | null;
  close(): void;
}

/** Where keys may come from. */
export interface KeyOptions {
  readonly issuer?: string | string[] | undefined;
  readonly jwks?: string | undefined;
  readonly keys?: readonly (string | Record<string, unknown>)[] | undefined;
}

/** Rejects when a given key or file cannot be read; a URL that does not answer is asked again later. */
export async function openKeys(options: KeyOptions, host: Host): Promise<TokenKeys> {
  const given = await Promise.all(
    (options.keys ?? []).map((key, index) => toKey(key, index, host.baseDir)),
  );
  const { jwks } = options;
  if (jwks !== undefined && !/^https?:\/\//.test(jwks))
    return openFile(resolve(host.baseDir, jwks), given, host);
  const place = placeOf(options);
  if (place === null) return new StaticKeys(given);
  return new SharedKeys(
    given,
    place,
    shareKeys(place, () => host.now()),
  );
}

function placeOf({ jwks, keys, issuer }: KeyOptions): KeySetPlace | null {
  if (jwks !== undefined) return { url: jwks };
  if (keys !== undefined && keys.length > 0) return null;
  const first = Array.isArray(issuer) ? issuer[0] : issuer;
  return first === undefined ? null : { issuer: first };
}

async function toKey(
  key: string | Record<string, unknown>,
  index: number,
  baseDir: string,
): Promise<VerifyKey> {
  try {
    if (typeof key === "string") {
      return keyFromPem(
        key.includes("-----BEGIN") ? key : await readFile(resolve(baseDir, key), "utf8"),
      );
    }
    if (typeof key.secret === "string") return keyFromSecret(key.secret);
    const parsed = keyFromJwk(key);
    if (parsed === null) throw new Error("not a JSON Web Key for signatures");
    return parsed;
  } catch (error) {
    throw new Error(`keys[${index}]: ${error instanceof Error ? error.message : String(error)}`);
  }
}

class StaticKeys implements TokenKeys {
  keys: readonly VerifyKey[];
  version = 1;
  readonly awayReason = null;
  constructor(keys: readonly VerifyKey[]) {
    this.keys = keys;
  }
  get hasSecret(): boolean {
    return this.keys.some(({ key }) => key.type === "secret");
  }
  replace(keys: readonly VerifyKey[]): void {
    this.keys = keys;
    this.version++;
  }
  keepFresh(): void {}
  lookUp(): null {
    return null;
  }
  close(): void {}
}

/** A file is read again when it changes; one that cannot be read changes nothing. */
async function openFile(file: string, given: readonly VerifyKey[], host: Host): Promise<TokenKeys> {
  const keys = new StaticKeys([...given, ...keysFromSet(await readFile(file, "utf8"))]);
  let changedMs = (await stat(file)).mtimeMs;
  host.every(filePollMs, async () => {
    const { mtimeMs } = await stat(file);
    if (mtimeMs === changedMs) return;
    keys.replace([...given, ...keysFromSet(await readFile(file, "utf8"))]);
    changedMs = mtimeMs;
  });
  return keys;
}

class SharedKeys implements TokenKeys {
  private readonly given: readonly VerifyKey[];
  private readonly place: KeySetPlace;
  private readonly remote: RemoteKeys;
  constructor(given: readonly VerifyKey[], place: KeySetPlace, remote: RemoteKeys) {
    this.given = given;
    this.place = place;
    this.remote = remote;
    remote.keepFresh();
  }
  get keys(): readonly VerifyKey[] {
    return this.given.length === 0 ? this.remote.keys : [...this.given, ...this.remote.keys];
  }
  get version(): number {
    return this.remote.version;
  }
  // a secret in a set that anyone can fetch is none: HMAC is for given keys only
  get hasSecret(): boolean {
    return this.given.some(({ key }) => key.type === "secret");
  }
  get awayReason(): string | null {
    return this.remote.lastError ?? (this.remote.isFetching ? "no answer yet" : null);
  }
  keepFresh(): void {
    this.remote.keepFresh();
  }
  lookUp(): Promise<void> {
    return this.remote.lookUp();
  }
  close(): void {
    releaseKeys(this.place);
  }
}
