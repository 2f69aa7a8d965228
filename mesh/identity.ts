/** A workload's identity: its certificate, key and bundle, replaced in one step, and the checks made with them on both sides. */

import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import tls from "node:tls";
import {
  alpnProtocols,
  hardened,
  type Admission,
  type ServerTls,
  type ServerTlsOptions,
} from "../proxy/listen/tls.ts";
import type { PeerRefusal } from "../proxy/listen/certificate.ts";
import type { Log } from "../proxy/pipeline/plugin.ts";
import type { DialIdentity } from "../proxy/upstream/connect.ts";
import { parseSpiffeId, serviceId, verifyPeer, type PeerVerdict } from "./spiffe.ts";

/** PEM texts. `cert` may carry intermediates after the leaf; `bundle` has the authorities that peers are checked against. */
export interface IdentityMaterial {
  readonly cert: string;
  readonly key: string;
  readonly bundle: string;
}

export interface IdentityOptions {
  /** This workload, e.g. `orders`: the certificate must say so. */
  readonly service: string;
  readonly trustDomain: string;
  /** Other trust domains that access rules name; believed when the bundle has their authority. */
  readonly otherDomains?: readonly string[];
  /** 48 bytes shared by the workers; null: this thread's own. */
  readonly ticketKeys: Buffer | null;
  readonly log: Log;
  /** Counts `weft_peers_refused_total{reason}`; refusals by an inbound listener are counted by the listener. */
  refused(reason: PeerRefusal): void;
  /** Milliseconds since 1970. */
  wallNow(): number;
}

/** An identity that cannot be used; the message says which file and why. */
export class IdentityError extends Error {
  readonly file: "cert" | "key" | "bundle";
  constructor(file: "cert" | "key" | "bundle", message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "IdentityError";
    this.file = file;
  }
}

interface Loaded {
  readonly context: tls.SecureContext;
  readonly leaf: X509Certificate;
  readonly authorities: readonly X509Certificate[];
}

/** Reads the three files. Rejects with {@link IdentityError} naming the file. */
export async function readIdentity(files: {
  readonly cert: string;
  readonly key: string;
  readonly bundle: string;
}): Promise<IdentityMaterial> {
  const read = async (kind: "cert" | "key" | "bundle"): Promise<string> => {
    try {
      return await readFile(files[kind], "utf8");
    } catch (error) {
      throw new IdentityError(
        kind,
        `cannot read ${files[kind]}: ${(error as NodeJS.ErrnoException).code}`,
        error,
      );
    }
  };
  const [cert, key, bundle] = await Promise.all([read("cert"), read("key"), read("bundle")]);
  return { cert, key, bundle };
}

/** Who we are towards peers, dialling ({@link DialIdentity}) and listening ({@link ServerTls}). */
export class MeshIdentity implements DialIdentity, ServerTls {
  /** `spiffe://<trustDomain>/service/<name>` */
  readonly id: string;
  private settings: IdentityOptions;
  private material: IdentityMaterial;
  private readonly domains: ReadonlySet<string>;
  private loaded: Loaded;

  /** Throws {@link IdentityError}. */
  constructor(material: IdentityMaterial, options: IdentityOptions) {
    this.id = serviceId(options.trustDomain, options.service);
    this.settings = options;
    this.material = material;
    this.domains = new Set([options.trustDomain, ...(options.otherDomains ?? [])]);
    this.loaded = load(material, this.id, options);
  }

  /** From now on connections are made with the new certificate and bundle. Throws {@link IdentityError} and changes nothing. */
  replace(material: IdentityMaterial): void {
    this.loaded = load(material, this.id, this.settings);
    this.material = material;
  }

  /** 48 bytes. Sessions that were sealed with the keys before do not resume any more. */
  useTicketKeys(ticketKeys: Buffer): void {
    this.settings = { ...this.settings, ticketKeys };
    this.loaded = load(this.material, this.id, this.settings);
  }

  /** The certificate in effect: for `/certs` and `weft_certificate_expiry_seconds`. */
  get leaf(): X509Certificate {
    return this.loaded.leaf;
  }

  // === impl DialIdentity ===

  get context(): tls.SecureContext {
    return this.loaded.context;
  }

  refusal(socket: tls.TLSSocket, expectedId: string): string | null {
    // with `rejectUnauthorized: false` Node keeps OpenSSL's verdict here, as its code
    const error = socket.authorizationError as unknown as string | Error | null;
    const verdict = this.verify(socket, error === null ? null : String(error), expectedId);
    if (verdict.reason === null) return null;
    const where = `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? "?"}`;
    return this.say(verdict.reason, verdict.detail, where);
  }

  plainText(where: string): string {
    return this.say("plain-text", "it does not speak TLS on its inbound port", where);
  }

  private say(reason: PeerRefusal, detail: string, where: string): string {
    this.settings.refused(reason);
    this.settings.log.warn(`mesh: refused peer ${where}: ${reason}: ${detail}`, {
      peer: where,
      reason,
    });
    return `peer refused: ${reason}: ${detail}`;
  }

  // === impl ServerTls ===

  options(): ServerTlsOptions {
    return {
      secureContext: this.loaded.context,
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: alpnProtocols,
    };
  }

  admit(socket: tls.TLSSocket, verifyError: string | null): Admission {
    const verdict = this.verify(socket, verifyError, null);
    if (verdict.reason !== null)
      return { admitted: false, reason: verdict.reason, detail: verdict.detail };
    const certificate = socket.getPeerX509Certificate() ?? null;
    return { admitted: true, peer: verdict.peer, certificate, misdirected: () => false };
  }

  private verify(
    socket: tls.TLSSocket,
    verifyError: string | null,
    id: string | null,
  ): PeerVerdict {
    return verifyPeer(socket.getPeerX509Certificate(), verifyError, {
      domains: this.domains,
      id,
      authorities: this.loaded.authorities,
      wallMs: this.settings.wallNow(),
    });
  }
}

function load(material: IdentityMaterial, id: string, options: IdentityOptions): Loaded {
  const [leaf, ...chain] = certificatesIn("cert", material.cert);
  const authorities = certificatesIn("bundle", material.bundle);
  const key = attempt("key", "not a PEM private key", () => createPrivateKey(material.key));
  // files are often swapped one by one: a pair that does not fit is half of a change
  if (!leaf!.checkPrivateKey(key))
    throw new IdentityError("key", "the key does not belong to the certificate");
  const verdict = verifyPeer(leaf, chainError(leaf!, chain, authorities), {
    domains: new Set([options.trustDomain]),
    id,
    authorities,
    // an expired certificate is ours to start with: peers refuse it, and a new file ends that
    wallMs: Math.min(
      Math.max(options.wallNow(), leaf!.validFromDate.getTime()),
      leaf!.validToDate.getTime(),
    ),
  });
  if (verdict.reason !== null)
    throw new IdentityError("cert", `${verdict.reason}: ${verdict.detail}`);
  if (leaf!.validToDate.getTime() < options.wallNow()) {
    options.log.error(
      `mesh: our certificate expired on ${leaf!.validToDate.toISOString()}: peers will refuse it`,
    );
  }
  const context = attempt("cert", "cannot be used", () =>
    tls.createSecureContext({
      ...hardened,
      minVersion: "TLSv1.3",
      cert: material.cert,
      key: material.key,
      ca: authorities.map((authority) => authority.toString()),
      // a session made under one bundle must not resume under another
      sessionIdContext: createHash("sha256")
        .update(id)
        .update(material.bundle)
        .digest("hex")
        .slice(0, 32),
      ...(options.ticketKeys === null ? {} : { ticketKeys: options.ticketKeys }),
    }),
  );
  return { context, leaf: leaf!, authorities };
}

/** Walks from the leaf over the intermediates to the bundle; the error code that OpenSSL would give. */
function chainError(
  leaf: X509Certificate,
  chain: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
): string | null {
  let at = leaf;
  for (let depth = 0; depth <= chain.length; depth++) {
    const issued = (by: X509Certificate): boolean => at.checkIssued(by) && at.verify(by.publicKey);
    if (authorities.some(issued)) return null;
    const next = chain.find(issued);
    if (next === undefined) break;
    at = next;
  }
  return "UNABLE_TO_GET_ISSUER_CERT_LOCALLY";
}

function certificatesIn(
  file: "cert" | "bundle",
  pem: string,
): [X509Certificate, ...X509Certificate[]] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const [first, ...others] = blocks.map((block) =>
    attempt(file, "not a PEM certificate", () => new X509Certificate(block)),
  );
  if (first === undefined) throw new IdentityError(file, "there is no PEM certificate in it");
  return [first, ...others];
}

function attempt<T>(file: "cert" | "key" | "bundle", message: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new IdentityError(
      file,
      `${message}: ${error instanceof Error ? error.message : String(error)}`,
      error,
    );
  }
}

/** The trust domains that access rules name beside our own. */
export function domainsOf(callers: Iterable<string>): string[] {
  const domains = new Set<string>();
  for (const caller of callers) {
    const peer = parseSpiffeId(caller);
    if (peer !== null) domains.add(peer.trustDomain);
  }
  return [...domains];
}
