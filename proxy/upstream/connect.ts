/** Opens connections to endpoints: plain TCP, TLS, or mTLS with a mesh identity. */

import net from "node:net";
import tls from "node:tls";
import { Timed, type Wheel } from "../clock.ts";
import { ProxyError } from "../errors.ts";
import type { Dial, DialOptions } from "../exchange.ts";
import { Transport } from "../listen/transport.ts";
import { Resolver, type Address } from "./resolve.ts";

/** Where and how to connect. Plain data but for the live TLS parts; made once per endpoint. */
export interface DialTarget {
  /** Name or address, without brackets. */
  readonly host: string;
  readonly port: number;
  /** Identity of the pool: connections are shared only between equal keys. See {@link dialKey}. */
  readonly key: string;
  readonly tls: TlsDial | MeshDial | null;
  /** What the endpoint speaks; `auto`: ask by ALPN, or try. Default `http1`. */
  readonly protocol?: "http1" | "http2" | "auto" | "tcp";
}

/** TLS with a certificate checked against `serverName`, or against the host when there is none. */
export interface TlsDial {
  readonly kind: "tls";
  readonly context: tls.SecureContext;
  /** Sent as SNI and expected in the certificate. */
  readonly serverName: string | null;
}

/** mTLS between peers: the other side must prove to be `expectedId`. */
export interface MeshDial {
  readonly kind: "mesh";
  readonly identity: DialIdentity;
  /** SPIFFE URI, e.g. `spiffe://weft.local/service/orders`. */
  readonly expectedId: string;
}

/** The part of a mesh identity that dialling needs; `mesh/identity.ts` has the real one. */
export interface DialIdentity {
  /** With the certificate in effect now: read again for each connection, so that rotation needs no restart. */
  readonly context: tls.SecureContext;
  /** Null when the other side is `expectedId`; else a sentence that starts with the reason word. It logs and counts the refusal. */
  refusal(socket: tls.TLSSocket, expectedId: string): string | null;
  /** The other side does not speak TLS: logs and counts that, and says it. */
  plainText(where: string): string;
}

export interface UpstreamTlsOptions {
  /** PEM of the authorities to trust; null: those that Node ships. */
  readonly ca: string | Buffer | null;
  readonly serverName: string | null;
}

/** TLS to endpoints as configured in `services.*.tls`. TLS 1.2 at least. Throws on an unreadable `ca`. */
export function upstreamTls(options: UpstreamTlsOptions): TlsDial {
  const context = tls.createSecureContext({
    minVersion: "TLSv1.2",
    ...(options.ca === null ? {} : { ca: options.ca }),
  });
  return { kind: "tls", context, serverName: options.serverName };
}

function alpnOf(protocol: DialTarget["protocol"]): string[] {
  if (protocol === "tcp") return [];
  if (protocol === "http2") return ["h2"];
  return protocol === "auto" ? ["h2", "http/1.1"] : ["http/1.1"];
}

/** A structured pool identity: no two different targets share a key. */
export function dialKey(target: Omit<DialTarget, "key">): string {
  const { tls: secure } = target;
  const { protocol = "http1" } = target;
  if (secure === null) return JSON.stringify([target.host, target.port, protocol]);
  if (secure.kind === "mesh")
    return JSON.stringify([target.host, target.port, protocol, "mesh", secure.expectedId]);
  return JSON.stringify([target.host, target.port, protocol, "tls", secure.serverName]);
}

export interface DialEnv {
  readonly wheel: Wheel;
  /** Monotonic milliseconds, the wheel's clock. */
  now(): number;
  readonly resolver?: Resolver;
}

/** Sessions for resumption, per secure context (so per trust and identity) and pool key: never across identities (CVE-2026-48934). */
const sessions = new WeakMap<tls.SecureContext, Map<string, Buffer>>();
const maxSessions = 1_024;

/**
 * Makes the worker's {@link Dial}. The transport handed over is connected, verified and paused: set its handler, then `resume()`.
 * Errors: `connect-refused` (refused, unreachable, unknown name, no descriptor), `connect-timeout`, `upstream-tls`; all retryable,
 * since nothing of a request was sent. `done` runs at most once, never after `cancel()`, and never before this returns.
 */
export function createDial(env: DialEnv): Dial {
  const resolver = env.resolver ?? new Resolver({ now: () => env.now() });
  return (target, options, done) => {
    const dialling = new Dialling(env, target, options, done);
    dialling.start(resolver);
    return dialling;
  };
}

type Done = Parameters<Dial>[2];

/** One connection being opened: resolve, then each address in turn within one time limit. */
class Dialling extends Timed {
  private readonly env: DialEnv;
  private readonly target: DialTarget;
  private readonly timeoutMs: number;
  private readonly preface: Uint8Array | null;
  private done: Done | null;
  private addresses: readonly Address[] = [];
  private tried = 0;
  private transport: Transport | null = null;
  private phase: "resolve" | "connect" | "tls" = "resolve";

  constructor(env: DialEnv, target: DialTarget, options: DialOptions, done: Done) {
    super();
    this.env = env;
    this.target = target;
    this.timeoutMs = options.timeoutMs;
    this.preface = options.preface ?? null;
    this.done = done;
  }

  start(resolver: Resolver): void {
    if (this.timeoutMs > 0) this.env.wheel.arm(this, this.env.now() + this.timeoutMs);
    resolver.resolve(this.target.host, (error, addresses) => {
      if (this.done === null) return;
      if (error !== null) {
        // as if asynchronous, so that the caller has our return value first
        queueMicrotask(() =>
          this.fail(
            new ProxyError(
              "connect-refused",
              `connect ${this.where}: ${inWords(error)}`,
              retryable(error),
            ),
          ),
        );
        return;
      }
      this.addresses = addresses;
      this.tryNext();
    });
  }

  cancel(): void {
    if (this.done === null) return;
    this.done = null;
    this.drop();
  }

  override onDue(): void {
    const what =
      this.phase === "tls"
        ? "TLS handshake timed out"
        : this.phase === "resolve"
          ? "name lookup timed out"
          : "timed out";
    this.fail(
      new ProxyError(
        "connect-timeout",
        `connect ${this.where}: ${what} after ${this.timeoutMs} ms`,
        { retryable: true },
      ),
    );
  }

  private get where(): string {
    const { host, port } = this.target;
    return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  }

  private tryNext(): void {
    const address = this.addresses[this.tried++]!;
    this.phase = "connect";
    const secure = this.target.tls;
    const options = { host: address.address, port: this.target.port };
    const transport =
      secure === null
        ? Transport.connect(options, () => {
            if (this.preface !== null) transport.write(this.preface);
            this.succeed(transport);
          })
        : this.connectTls(secure, options);
    this.transport = transport;
    transport.handler = {
      onData() {},
      onEnd() {},
      onDrain() {},
      onClose: (error) => this.lost(transport, error),
    };
  }

  private connectTls(
    secure: TlsDial | MeshDial,
    options: { host: string; port: number },
  ): Transport {
    const context = secure.kind === "tls" ? secure.context : secure.identity.context;
    const name = secure.kind === "tls" ? (secure.serverName ?? this.target.host) : null;
    // Not in the mesh: Node shows no peer certificate on a resumed client connection, so there would be no name to check.
    const session = secure.kind === "tls" ? sessions.get(context)?.get(this.target.key) : undefined;
    const { preface } = this;
    // Node begins the handshake as soon as it is connected: what goes before it needs a socket of our own
    const raw = preface === null ? null : this.connectFirst(options, preface);
    const open = (over: { socket: net.Socket } | { onread: net.OnReadOpts }): tls.TLSSocket =>
      tls.connect({
        ...options,
        ...over,
        allowHalfOpen: true,
        noDelay: true,
        secureContext: context,
        ALPNProtocols: alpnOf(this.target.protocol),
        ...(name !== null && net.isIP(name) === 0 ? { servername: name } : {}),
        ...(session === undefined ? {} : { session }),
        ...(name === null
          ? // the mesh checks the SPIFFE name itself, in words, before anything is sent
            { rejectUnauthorized: false, checkServerIdentity: () => undefined }
          : {
              checkServerIdentity: (_host: string, certificate: tls.PeerCertificate) =>
                tls.checkServerIdentity(name, certificate),
            }),
      } as tls.ConnectionOptions & net.TcpNetConnectOpts);
    const transport =
      raw === null
        ? Transport.reading((onread) => open({ onread }))
        : Transport.of(open({ socket: raw }));
    const socket = transport.socket as tls.TLSSocket;
    raw?.on("error", (error) => socket.destroy(error));
    (raw ?? socket).once("connect", () => {
      this.phase = "tls";
    });
    socket.once("secureConnect", () => {
      const refusal =
        secure.kind === "mesh" ? secure.identity.refusal(socket, secure.expectedId) : null;
      if (refusal === null) return this.succeed(transport);
      this.fail(
        new ProxyError("upstream-tls", `connect ${this.where}: ${refusal}`, { retryable: true }),
      );
    });
    if (secure.kind === "tls")
      socket.on("session", (fresh: Buffer) => keepSession(context, this.target.key, fresh));
    return transport;
  }

  /** A plain connection that has sent `preface` before anybody else writes on it. */
  private connectFirst(options: { host: string; port: number }, preface: Uint8Array): net.Socket {
    const raw = net.connect({ ...options, noDelay: true, autoSelectFamily: false });
    // what is written while it connects goes out first
    raw.write(preface);
    return raw;
  }

  private succeed(transport: Transport): void {
    const done = this.done;
    if (done === null) return;
    this.done = null;
    this.env.wheel.disarm(this);
    done(null, transport);
  }

  private lost(transport: Transport, error: Error | null): void {
    if (this.done === null || this.transport !== transport) return;
    this.transport = null;
    if (this.phase === "tls") {
      const words = this.tlsFailure(error);
      this.fail(
        new ProxyError("upstream-tls", `connect ${this.where}: ${words}`, retryable(error)),
      );
    } else if (this.tried < this.addresses.length) this.tryNext();
    else {
      const code = codeOf(error) === "ETIMEDOUT" ? "connect-timeout" : "connect-refused";
      this.fail(new ProxyError(code, `connect ${this.where}: ${inWords(error)}`, retryable(error)));
    }
  }

  private tlsFailure(error: Error | null): string {
    const secure = this.target.tls;
    // a session that the other side no longer likes must not be offered again
    forgetSession(this.target);
    if (secure?.kind === "mesh" && notTls.has(codeOf(error)))
      return secure.identity.plainText(this.where);
    return `TLS: ${error === null ? "closed during the handshake" : tlsInWords(error)}`;
  }

  private fail(error: ProxyError): void {
    const done = this.done;
    if (done === null) return;
    this.done = null;
    this.drop();
    done(error, null);
  }

  private drop(): void {
    this.env.wheel.disarm(this);
    const transport = this.transport;
    this.transport = null;
    transport?.destroy();
  }
}

function keepSession(context: tls.SecureContext, key: string, session: Buffer): void {
  let kept = sessions.get(context);
  if (kept === undefined) sessions.set(context, (kept = new Map()));
  if (kept.size >= maxSessions && !kept.has(key)) {
    const oldest = kept.keys().next();
    if (oldest.done !== true) kept.delete(oldest.value);
  }
  kept.set(key, session);
}

function forgetSession(target: DialTarget): void {
  if (target.tls === null) return;
  const context = target.tls.kind === "tls" ? target.tls.context : target.tls.identity.context;
  sessions.get(context)?.delete(target.key);
}

function retryable(cause: Error | null): { retryable: true; cause?: Error } {
  return cause === null ? { retryable: true } : { retryable: true, cause };
}

function codeOf(error: Error | null): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? "";
}

const connectWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: "refused",
  ECONNRESET: "reset before it was open",
  ETIMEDOUT: "timed out by the system",
  EHOSTUNREACH: "host unreachable",
  ENETUNREACH: "network unreachable",
  EADDRNOTAVAIL: "no local address or port is free",
  ENOTFOUND: "the name has no address",
  EAI_AGAIN: "the name server did not answer",
  EMFILE: "this process is out of file descriptors",
  ENFILE: "this machine is out of file descriptors",
  EACCES: "not permitted by this machine",
};

function inWords(error: Error | null): string {
  if (error === null) return "closed before it was open";
  return connectWords[codeOf(error)] ?? error.message;
}

/** What OpenSSL says when the answer to its first message is not a TLS record. */
const notTls: ReadonlySet<string> = new Set([
  "ERR_SSL_WRONG_VERSION_NUMBER",
  "ERR_SSL_PACKET_LENGTH_TOO_LONG",
]);

const tlsWords: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "its certificate has expired",
  CERT_NOT_YET_VALID: "its certificate is not valid yet",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed and not among the trusted ones",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate comes from an authority that is not trusted",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate comes from an authority that is not trusted",
  UNABLE_TO_GET_ISSUER_CERT: "its certificate comes from an authority that is not trusted",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate comes from an authority that is not trusted",
  ECONNRESET: "closed during the handshake",
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS on this port",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "it does not speak TLS on this port",
};

function tlsInWords(error: Error): string {
  const code = codeOf(error);
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return `its certificate is for other names: ${(error as Error & { reason?: string }).reason ?? error.message}`;
  }
  return tlsWords[code] ?? error.message;
}
