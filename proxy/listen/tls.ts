/** TLS at a listener: which certificate for which name, who may connect, and what was shown to whom. */

import { createHash, createPrivateKey, X509Certificate, constants } from "node:crypto";
import tls from "node:tls";
import { dnsNames, oneLine, refusalOf } from "./certificate.ts";
import type { Peer } from "../pipeline/plugin.ts";

/** What a listener asks of its TLS side: the edge has {@link TlsContexts}, the mesh has its identity. */
export interface ServerTls {
  /** For one new connection. @param serverName what the client asks for, lower case; null: it does not say */
  options(serverName: string | null): ServerTlsOptions;
  /** Once the handshake is complete: who is it, and may they stay? */
  admit(socket: tls.TLSSocket, verifyError: string | null, serverName: string | null): Admission;
}

/** What listeners offer by ALPN, the best first; `proxy/serve.ts` serves them. */
export const alpnProtocols: readonly string[] = ["h2", "http/1.1"];

export interface ServerTlsOptions {
  readonly secureContext: tls.SecureContext;
  readonly requestCert: boolean;
  /** The stack itself refuses a client without a certificate, with the right alert. */
  readonly rejectUnauthorized: boolean;
  readonly ALPNProtocols?: readonly string[];
}

export type Admission =
  | {
      readonly admitted: true;
      readonly peer: Peer | null;
      readonly certificate: X509Certificate | null;
      /** True when the host belongs to another certificate than the one shown. */
      misdirected(host: string): boolean;
    }
  | { readonly admitted: false; readonly reason: string; readonly detail: string };

/** The PEM texts of a listener's TLS block. */
export interface TlsMaterial {
  /** Later ones with the same name and key type are not used; an RSA and an ECDSA one for the same name are both offered. */
  readonly certificates: readonly {
    readonly cert: string | Buffer;
    readonly key: string | Buffer;
  }[];
  readonly clientAuth: {
    readonly ca: string | Buffer;
    readonly mode: "require" | "optional";
  } | null;
  /** 48 bytes shared by all workers, so that a session resumes whoever accepts it; null: this thread's own. */
  readonly ticketKeys: Buffer | null;
  /** What is offered by ALPN. Null: nothing, whatever a client asks for. Default: {@link alpnProtocols}. */
  readonly alpn?: readonly string[] | null;
}

/** A certificate, key or CA that cannot be used; `where` is its place below the `tls` block. */
export class TlsMaterialError extends Error {
  readonly where: readonly (string | number)[];
  constructor(where: readonly (string | number)[], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "TlsMaterialError";
    this.where = where;
  }
}

/** TLS 1.2 renegotiation lets a client make the server work for nothing (CVE-2011-1473). */
export const hardened = {
  minVersion: "TLSv1.2",
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_CIPHER_SERVER_PREFERENCE,
} as const satisfies tls.SecureContextOptions;

/** One consistent set of certificates; a hot swap makes a new one, open connections keep theirs. */
interface TlsSet {
  readonly material: TlsMaterial;
  readonly exact: ReadonlyMap<string, tls.SecureContext>;
  /** Key: what follows `*.`; one label deep (RFC 6125 section 6.4.3). */
  readonly wildcard: ReadonlyMap<string, tls.SecureContext>;
  readonly first: tls.SecureContext;
  /** Leaf certificates in file order: for `/certs` and the expiry metric. */
  readonly leaves: readonly X509Certificate[];
}

/** A listener's certificates, chosen by SNI, replaced in one step. */
export class TlsContexts implements ServerTls {
  private set: TlsSet;

  /** Throws {@link TlsMaterialError}. */
  constructor(material: TlsMaterial) {
    this.set = compile(material);
  }

  /** Hot swap: connections made from now on see the new certificates. Throws {@link TlsMaterialError} and changes nothing. */
  replace(material: TlsMaterial): void {
    this.set = compile(material);
  }

  /** 48 bytes. Sessions that were sealed with the keys before do not resume any more. */
  useTicketKeys(ticketKeys: Buffer): void {
    this.set = compile({ ...this.set.material, ticketKeys });
  }

  get leaves(): readonly X509Certificate[] {
    return this.set.leaves;
  }

  options(serverName: string | null): ServerTlsOptions {
    const { material } = this.set;
    return {
      secureContext: shownFor(this.set, serverName),
      requestCert: material.clientAuth !== null,
      rejectUnauthorized: material.clientAuth?.mode === "require",
      ...(material.alpn === null ? {} : { ALPNProtocols: material.alpn ?? alpnProtocols }),
    };
  }

  admit(socket: tls.TLSSocket, verifyError: string | null, serverName: string | null): Admission {
    const { set } = this;
    const { clientAuth } = set.material;
    const certificate = clientAuth === null ? undefined : socket.getPeerX509Certificate();
    if (clientAuth !== null) {
      if (certificate === undefined && clientAuth.mode === "require") {
        return {
          admitted: false,
          reason: "no-certificate",
          detail: "the client showed no certificate",
        };
      }
      if (certificate !== undefined) {
        const reason = refusalOf(certificate, verifyError);
        if (reason !== null) {
          return {
            admitted: false,
            reason,
            detail: `client certificate of ${oneLine(certificate.subject)}`,
          };
        }
      }
    }
    const shown = shownFor(set, serverName);
    return {
      admitted: true,
      peer: null,
      certificate: certificate ?? null,
      misdirected: (host) => (find(set, host) ?? shown) !== shown,
    };
  }
}

/** Names are compared in lower case (CVE-2026-48928). */
function shownFor(set: TlsSet, serverName: string | null): tls.SecureContext {
  return (serverName === null ? undefined : find(set, serverName)) ?? set.first;
}

function find(set: TlsSet, host: string): tls.SecureContext | undefined {
  const exact = set.exact.get(host);
  if (exact !== undefined) return exact;
  const dot = host.indexOf(".");
  return dot > 0 ? set.wildcard.get(host.slice(dot + 1)) : undefined;
}

function compile(material: TlsMaterial): TlsSet {
  if (material.certificates.length === 0)
    throw new TlsMaterialError(["certificates"], "TLS needs at least one certificate");
  const leaves = material.certificates.map(({ cert, key }, index) => readPair(cert, key, index));
  const contexts = new Map<string, tls.SecureContext>();
  const contextOf = (indices: readonly number[]): tls.SecureContext => {
    const id = indices.join();
    const known = contexts.get(id);
    if (known !== undefined) return known;
    const context = createContext(material, indices);
    contexts.set(id, context);
    return context;
  };
  const byName = new Map<string, number[]>();
  leaves.forEach((leaf, index) => {
    for (const name of dnsNames(leaf)) {
      const indices = byName.get(name) ?? [];
      // one certificate for each key type: OpenSSL picks by what the client can verify
      if (!indices.some((other) => keyType(leaves[other]!) === keyType(leaf))) indices.push(index);
      byName.set(name, indices);
    }
  });
  const exact = new Map<string, tls.SecureContext>();
  const wildcard = new Map<string, tls.SecureContext>();
  for (const [name, indices] of byName) {
    if (name.startsWith("*.")) wildcard.set(name.slice(2), contextOf(indices));
    else exact.set(name, contextOf(indices));
  }
  const firstName = dnsNames(leaves[0]!)[0];
  return {
    material,
    exact,
    wildcard,
    first: contextOf(byName.get(firstName ?? "") ?? [0]),
    leaves,
  };
}

function readPair(cert: string | Buffer, key: string | Buffer, index: number): X509Certificate {
  const leaf = attempt(
    ["certificates", index, "cert"],
    "not a PEM certificate",
    () => new X509Certificate(cert),
  );
  const secret = attempt(["certificates", index, "key"], "not a PEM private key", () =>
    createPrivateKey(key),
  );
  if (!leaf.checkPrivateKey(secret)) {
    throw new TlsMaterialError(
      ["certificates", index, "key"],
      "the key does not belong to the certificate",
    );
  }
  return leaf;
}

function createContext(material: TlsMaterial, indices: readonly number[]): tls.SecureContext {
  const { clientAuth, ticketKeys } = material;
  const build = (): tls.SecureContext =>
    tls.createSecureContext({
      ...hardened,
      cert: indices.map((index) => material.certificates[index]!.cert),
      key: indices.map((index) => material.certificates[index]!.key),
      sessionIdContext: sessionScope(clientAuth),
      ...(clientAuth === null ? {} : { ca: clientAuth.ca }),
      ...(ticketKeys === null ? {} : { ticketKeys }),
    });
  if (clientAuth === null)
    return attempt(["certificates", indices[0]!, "cert"], "cannot be used", build);
  attempt(["clientAuth", "ca"], "not a PEM certificate", () => new X509Certificate(clientAuth.ca));
  return attempt(["clientAuth", "ca"], "cannot be used", build);
}

/** A session made under one rule about clients must not resume under another (CVE-2026-48934): 32 bytes at most. */
function sessionScope(clientAuth: TlsMaterial["clientAuth"]): string {
  const hash = createHash("sha256").update("weft");
  if (clientAuth !== null) hash.update(clientAuth.mode).update(clientAuth.ca);
  return hash.digest("hex").slice(0, 32);
}

function keyType(certificate: X509Certificate): string {
  return certificate.publicKey.asymmetricKeyType ?? "";
}

function attempt<T>(where: readonly (string | number)[], message: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new TlsMaterialError(
      where,
      `${message}: ${error instanceof Error ? error.message : String(error)}`,
      error,
    );
  }
}
