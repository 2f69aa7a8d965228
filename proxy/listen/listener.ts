/** One listening socket: accepts, finds out who is calling and by what protocol, and hands the byte stream on. */

import net from "node:net";
import type { Wheel } from "../clock.ts";
import type { ConnectionInfo } from "../exchange.ts";
import type { Client, Log } from "../pipeline/plugin.ts";
import { plainAddress, PlainInfo, SecureInfo } from "./connection-info.ts";
import { looksLikeHttp, looksLikeTls, readFirstBytes, type FirstBytes } from "./first-bytes.ts";
import { ListenError } from "./listen-error.ts";
import { handshakeLimitMs, Opening, refusePlainText } from "./opening.ts";
import { parseProxyHeader } from "./proxy-protocol.ts";
import { acceptTls } from "./secure-socket.ts";
import { isPeerRefusal, type PeerRefusal } from "./certificate.ts";
import type { ServerTls } from "./tls.ts";
import { Transport } from "./transport.ts";

export interface ListenerSpec {
  readonly name: string;
  /** Null: every address (`::`, or `0.0.0.0` where there is no IPv6). */
  readonly host: string | null;
  /** 0: any free port, see {@link Listener.address}. */
  readonly port: number;
  readonly tls: ServerTls | null;
  /** Every connection starts with a PROXY header v1 or v2; one without is closed. */
  readonly proxyProtocol: boolean;
  /** With `tls`: what to do with plain text on the same port. */
  readonly plainText: "refuse" | "serve";
  /** Who serves finds out what is spoken, TLS included, and is not kept waiting for a first byte. Default false. */
  readonly detects?: boolean;
  /** Several threads listen on one port. */
  readonly reusePort: boolean;
}

/** What is served on a connection: `proxy/http1/server.ts`. */
export interface Served {
  /** Finishes what is running, then closes. */
  drain(): void;
  destroy(): void;
}

/**
 * Ends TLS on a connection that is served already. When the handshake fails, the transport closes.
 * @param first the ClientHello, already read: nobody may read from the transport any more
 * @param secured once the handshake is complete and the caller admitted
 */
export type Secure = (
  first: Buffer,
  serverName: string | null,
  secured: (transport: Transport, conn: ConnectionInfo) => void,
) => void;

export interface ListenerEnv {
  readonly wheel: Wheel;
  /** Monotonic milliseconds, the wheel's clock. */
  now(): number;
  readonly log: Log;
  /**
   * Takes over the stream: must set the handler and call `resume()`.
   * @param secure ends TLS on a connection of a port that detects; null: there is none to end here
   */
  serve(transport: Transport, conn: ConnectionInfo, secure: Secure | null): Served;
  /** Counts one more connection of the whole process; false: at the limit. */
  admit(): boolean;
  /** {@link admit} said no: counts that. */
  turnedAway(): void;
  /** Gives back what {@link admit} counted; once per connection. */
  release(): void;
  /** No descriptor left: close something idle. */
  reclaim(): void;
  /** A client or peer was refused: `weft_peers_refused_total{reason}`. */
  refused(reason: PeerRefusal): void;
}

const errorLogEveryMs = 1_000;

interface Handshake {
  readonly caller: ConnectionInfo;
  readonly opening: Opening;
  readonly secured: (transport: Transport, conn: ConnectionInfo) => void;
}

export class Listener {
  readonly spec: ListenerSpec;
  private readonly env: ListenerEnv;
  private readonly server: net.Server;
  /** Every open connection; null until it is served. */
  private readonly open = new Map<net.Socket, Served | null>();
  private draining = false;
  private whenEmpty: (() => void)[] = [];
  private lastErrorLogMs = -Infinity;
  private errorsSinceLog = 0;
  private lastAwayLogMs = -Infinity;
  private awaySinceLog = 0;

  constructor(spec: ListenerSpec, env: ListenerEnv) {
    this.spec = spec;
    this.env = env;
    this.server = net.createServer(
      {
        pauseOnConnect: true,
        allowHalfOpen: true,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: 60_000,
      },
      (raw) => this.accept(raw),
    );
  }

  /** Open connections, handshakes included. */
  get connections(): number {
    return this.open.size;
  }

  /** Where it listens; null before and after. */
  get address(): net.AddressInfo | null {
    const address = this.server.address();
    return address === null || typeof address === "string" ? null : address;
  }

  /** @param fd a listening socket that somebody else bound and keeps. Rejects with {@link ListenError}. */
  async listen(fd?: number): Promise<void> {
    const { host, port, reusePort } = this.spec;
    if (fd !== undefined) await this.bind({ fd });
    else if (host !== null) await this.bind({ host, port, reusePort });
    else {
      try {
        await this.bind({ host: "::", port, reusePort });
      } catch (error) {
        const code = (error as ListenError).code;
        if (code !== "EAFNOSUPPORT" && code !== "EADDRNOTAVAIL") throw error;
        await this.bind({ host: "0.0.0.0", port, reusePort });
      }
    }
    this.server.on("error", (error: NodeJS.ErrnoException) => this.acceptFailed(error));
  }

  private bind(options: net.ListenOptions & { readonly fd?: number }): Promise<void> {
    return new Promise((resolve, reject) => {
      const { name, host, port } = this.spec;
      const failed = (error: NodeJS.ErrnoException): void =>
        reject(new ListenError(`${host ?? "*"}:${port} (${name})`, error));
      this.server.once("error", failed);
      this.server.listen({ ...options, backlog: 4_096 }, () => {
        this.server.off("error", failed);
        resolve();
      });
    });
  }

  /** Takes no more connections; open ones go on. */
  stopAccepting(): void {
    this.server.close();
  }

  /** Stops accepting, lets every connection finish its exchange; resolves when none is left. */
  drain(): Promise<void> {
    this.draining = true;
    this.stopAccepting();
    for (const served of this.open.values()) served?.drain();
    return new Promise((resolve) => {
      if (this.open.size === 0) resolve();
      else this.whenEmpty.push(resolve);
    });
  }

  /** Cuts everything. */
  destroy(): void {
    this.stopAccepting();
    for (const [socket, served] of this.open) {
      served?.destroy();
      socket.destroy();
    }
  }

  /** Out of descriptors: said once a second, something idle is closed, and the next connection is tried again. */
  private acceptFailed(error: NodeJS.ErrnoException): void {
    this.errorsSinceLog++;
    if (error.code === "EMFILE" || error.code === "ENFILE") this.env.reclaim();
    const nowMs = this.env.now();
    if (nowMs - this.lastErrorLogMs < errorLogEveryMs) return;
    this.env.log.error(
      `listener ${this.spec.name}: accept failed: ${error.code ?? error.message}`,
      {
        listener: this.spec.name,
        times: this.errorsSinceLog,
      },
    );
    this.lastErrorLogMs = nowMs;
    this.errorsSinceLog = 0;
  }

  /** Counted each time, said once a second. */
  private turnedAway(): void {
    this.awaySinceLog++;
    this.env.turnedAway();
    const nowMs = this.env.now();
    if (nowMs - this.lastAwayLogMs < errorLogEveryMs) return;
    const { name } = this.spec;
    this.env.log.warn(`listener ${name}: connections are turned away: too many are open`, {
      listener: name,
      times: this.awaySinceLog,
    });
    this.lastAwayLogMs = nowMs;
    this.awaySinceLog = 0;
  }

  private accept(raw: net.Socket): void {
    const { spec, env } = this;
    const socketAddress = plainAddress(raw.remoteAddress);
    if (socketAddress === null || !env.admit()) {
      // gone already, or one too many: closing at once costs least and lets the caller try elsewhere
      raw.on("error", ignore);
      if (socketAddress === null) return void raw.destroy();
      raw.resetAndDestroy();
      return this.turnedAway();
    }
    const client: Client = {
      address: socketAddress,
      port: raw.remotePort ?? 0,
      socketAddress,
      tls: null,
    };
    if (spec.tls === null || spec.detects) {
      // a handshake can only be begun on the socket itself
      const transport = spec.tls === null ? Transport.accepted(raw) : Transport.of(raw);
      this.track(transport.socket);
      if (spec.proxyProtocol) this.readHeader(transport, client);
      else this.serve(transport, new PlainInfo(spec.name, client, transport.socket, null));
      return;
    }
    raw.on("error", ignore);
    this.track(raw);
    const opening = new Opening((late) => this.refuse(raw, client, "timeout", late));
    env.wheel.arm(opening, env.now() + handshakeLimitMs);
    raw.once("close", () => env.wheel.disarm(opening));
    readFirstBytes(raw, spec.proxyProtocol, (first) => {
      if (first === null) return void raw.destroy();
      if (typeof first === "string") return this.refuse(raw, client, "proxy-protocol", first);
      const { source, rest } = first;
      const caller = new PlainInfo(spec.name, client, raw, source);
      if (spec.plainText === "serve" && !looksLikeTls(rest[0]!)) {
        env.wheel.disarm(opening);
        raw.unshift(rest);
        this.serve(Transport.of(raw), caller);
      } else if (looksLikeHttp(rest[0]!)) this.answerPlainText(raw, caller.client);
      else {
        const secured: Handshake["secured"] = (transport, conn) => this.serve(transport, conn, raw);
        this.handshake(raw, first, { caller, opening, secured });
      }
    });
  }

  /** Plain text behind a PROXY header: the bytes after it go to whoever serves, in the same turn. */
  private readHeader(transport: Transport, client: Client): void {
    const { spec, env } = this;
    const opening = new Opening((late) => this.refuse(transport.socket, client, "timeout", late));
    env.wheel.arm(opening, env.now() + handshakeLimitMs);
    let bytes: Buffer = Buffer.alloc(0);
    transport.handler = {
      onDrain: ignore,
      onEnd: () => transport.destroy(),
      onClose: () => env.wheel.disarm(opening),
      onData: (chunk) => {
        bytes = Buffer.concat([bytes, chunk]);
        const parsed = parseProxyHeader(bytes);
        if (parsed.kind === "more") return;
        env.wheel.disarm(opening);
        if (parsed.kind === "bad")
          return this.refuse(transport.socket, client, "proxy-protocol", parsed.why);
        this.serve(transport, new PlainInfo(spec.name, client, transport.socket, parsed.source));
        if (bytes.length > parsed.length) transport.handler.onData(bytes.subarray(parsed.length));
      },
    };
    transport.resume();
  }

  private handshake(
    raw: net.Socket,
    first: Pick<FirstBytes, "rest" | "serverName">,
    { caller, opening, secured }: Handshake,
  ): void {
    const { spec, env } = this;
    const { client } = caller;
    const config = spec.tls!;
    opening.doing = "the TLS handshake";
    const { rest, serverName } = first;
    const pending = acceptTls(
      raw,
      rest,
      config.options(serverName),
      (transport, socket, verifyError) => {
        env.wheel.disarm(opening);
        const admission = config.admit(socket, verifyError, serverName);
        if (!admission.admitted) {
          pending.handler = closed;
          // only the TLS socket, which closes the raw one when it may: we are inside a call of OpenSSL, and closing the
          // raw one first would free the session under its feet (a crash of the process)
          socket.destroy();
          return this.report(client, admission.reason, admission.detail);
        }
        secured(transport, new SecureInfo(spec.name, caller, socket, admission));
      },
    );
    pending.handler = {
      ...closed,
      // an end inside the handshake: nothing can come of it
      onEnd: () => pending.destroy(),
      onClose: (error) => {
        if (error !== null)
          this.report(
            client,
            handshakeReason(error),
            (error as { reason?: string }).reason ?? error.message,
          );
      },
    };
  }

  /** `key` is what {@link track} knows the connection by. */
  private serve(
    transport: Transport,
    conn: ConnectionInfo,
    key: net.Socket = transport.socket,
  ): void {
    const { detects, tls } = this.spec;
    const secure = detects === true && tls !== null ? this.securing(transport, conn) : null;
    const served = this.env.serve(transport, conn, secure);
    if (!this.open.has(key)) return;
    this.open.set(key, served);
    if (this.draining) served.drain();
  }

  /** For connections of a port that detects: the handshake begins when who serves has seen a ClientHello. */
  private securing({ socket: raw }: Transport, conn: ConnectionInfo): Secure {
    const { env } = this;
    return (rest, serverName, secured) => {
      if (!this.open.has(raw)) return;
      const opening = new Opening((late) => this.refuse(raw, conn.client, "timeout", late));
      opening.doing = "the TLS handshake";
      env.wheel.arm(opening, env.now() + handshakeLimitMs);
      raw.once("close", () => env.wheel.disarm(opening));
      raw.pause();
      raw.removeAllListeners("data");
      this.handshake(raw, { rest, serverName }, { caller: conn, opening, secured });
    };
  }

  private track(socket: net.Socket): void {
    this.open.set(socket, null);
    socket.once("close", () => {
      this.open.delete(socket);
      this.env.release();
      if (this.open.size > 0) return;
      for (const resolve of this.whenEmpty.splice(0)) resolve();
    });
  }

  private refuse(raw: net.Socket, client: Client, reason: string, detail: string): void {
    raw.destroy();
    this.report(client, reason, detail);
  }

  private report(client: Client, reason: string, detail: string): void {
    const named = isPeerRefusal(reason);
    if (named) this.env.refused(reason);
    // strangers knock on open ports all day: only a refused identity is worth a warning
    this.env.log[named ? "warn" : "info"](
      `listener ${this.spec.name}: refused ${client.address}: ${reason}: ${detail}`,
      {
        listener: this.spec.name,
        client: client.address,
        reason,
      },
    );
  }

  private answerPlainText(raw: net.Socket, client: Client): void {
    refusePlainText(raw, this.env);
    this.report(client, "plain-text", "plain HTTP on a TLS port");
  }
}

const ignore = (): void => {};
const closed = { onData: ignore, onEnd: ignore, onDrain: ignore, onClose: ignore };

function handshakeReason(error: NodeJS.ErrnoException): string {
  if (error.code === "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE") return "no-certificate";
  return "tls";
}
