/** Brings a tunnel to an endpoint: balanced, and tried again elsewhere when a connection cannot be made. */

import { ProxyError } from "../errors.ts";
import type { Wheel } from "../clock.ts";
import type { Dial } from "../exchange.ts";
import type { Transport } from "../listen/transport.ts";
import type { ServiceMetrics } from "../observe/request-metrics.ts";
import type { Endpoint } from "../service/endpoint.ts";
import type { Choice } from "../snapshot.ts";
import type { DialTarget } from "../upstream/connect.ts";
import { askPeer } from "./ask-peer.ts";

const NOTHING = Buffer.alloc(0);

/** What reaching needs of a worker. */
export interface ReachEnv {
  readonly dial: Dial;
  readonly metrics: ServiceMetrics;
  readonly wheel: Wheel;
  now(): number;
}

/** Who wants an endpoint. */
export interface ReachOwner {
  /** How the endpoint is dialled. */
  targetOf(endpoint: Endpoint): DialTarget;
  /** Bytes that go before everything else, TLS included: a PROXY header. Null: none. */
  preface(): Uint8Array | null;
  /** Before each try; who wants none calls {@link Reach.leave}. */
  attempting(endpoint: Endpoint, previous: string | null): void;
  /**
   * Once, unless it is left before: a paused connection, or why there is none.
   * @param rest what the other side has said already
   */
  reached(error: ProxyError | null, upstream: Transport | null, rest: Buffer): void;
}

/** Counts as one request of its service, and as a running one of its endpoint until it is left. */
export class Reach {
  readonly choice: Choice;
  /** Tries made so far. */
  attempts = 0;
  /** Of the last try. */
  endpoint: Endpoint | null = null;
  private readonly env: ReachEnv;
  private readonly owner: ReachOwner;
  private readonly tried = new Set<Endpoint>();
  private dialling: { cancel(): void } | null = null;
  private previous: string | null = null;
  private tryStartMs = 0;
  private isHeld = false;
  private isLeft = false;

  constructor(choice: Choice, env: ReachEnv, owner: ReachOwner) {
    this.choice = choice;
    this.env = env;
    this.owner = owner;
  }

  start(): void {
    this.choice.service.budget.request(this.env.now());
    this.dial();
  }

  /** The tunnel is over, or nobody wants it: at any time, any number of times. */
  leave(): void {
    this.isLeft = true;
    if (this.dialling !== null) {
      this.dialling.cancel();
      this.dialling = null;
      // it may have been chosen to find out how the endpoint is: that stays unknown
      const nowMs = this.env.now();
      this.choice.service.report(this.endpoint!, "cancelled", 0, nowMs);
    }
    this.release();
  }

  private release(): void {
    if (!this.isHeld) return;
    this.isHeld = false;
    this.endpoint!.active--;
  }

  private dial(): void {
    const { env, owner, choice } = this;
    const { service, policy } = choice;
    const startMs = (this.tryStartMs = env.now());
    const endpoint = service.pick(this.tried, startMs);
    if (typeof endpoint === "string")
      return this.end(
        new ProxyError(
          endpoint,
          `service ${service.name} has no ${endpoint === "no-endpoint" ? "" : "usable "}endpoint`,
        ),
      );
    this.attempts++;
    this.endpoint = endpoint;
    endpoint.active++;
    this.isHeld = true;
    owner.attempting(endpoint, this.previous);
    if (this.isLeft) return service.report(endpoint, "cancelled", 0, startMs);
    const timeoutMs = policy.connectTimeoutMs;
    if (!isBehindPeer(endpoint)) {
      const options = { timeoutMs, preface: owner.preface() };
      this.dialling = env.dial(owner.targetOf(endpoint), options, (error, upstream) =>
        this.ended(error, upstream, NOTHING),
      );
      return;
    }
    // a sidecar is asked for its app in HTTP/1.1
    const target: DialTarget = { ...endpoint.target, protocol: "http1" };
    this.dialling = env.dial(target, { timeoutMs }, (error, upstream) => {
      if (upstream === null || this.isLeft) return this.ended(error, upstream, NOTHING);
      const { wheel } = env;
      const asked = { service: service.name, endpoint: endpoint.address, timeoutMs, wheel };
      this.dialling = askPeer(upstream, { ...asked, now: () => env.now() }, (refusal, rest) =>
        this.ended(refusal, refusal === null ? upstream : null, rest),
      );
    });
  }

  /** A try has ended. */
  private ended(error: ProxyError | null, upstream: Transport | null, rest: Buffer): void {
    this.dialling = null;
    if (this.isLeft) return upstream?.destroy();
    const { env, tryStartMs } = this;
    const endpoint = this.endpoint!;
    const { service } = this.choice;
    const nowMs = env.now();
    const isRefused = error?.code === "forbidden";
    const outcome = upstream === null && !isRefused ? "failure" : "success";
    service.report(endpoint, outcome, nowMs - tryStartMs, nowMs);
    env.metrics.attempt(service.name, endpoint.address, error?.code ?? "connected");
    if (error === null) this.owner.reached(null, upstream, rest);
    else if (isRefused) this.end(error);
    else this.failed(endpoint, error);
  }

  /** Nothing of the caller's has been sent: another endpoint may have the connection. */
  private failed(endpoint: Endpoint, error: ProxyError): void {
    const { service, policy } = this.choice;
    const { metrics } = this.env;
    this.release();
    this.tried.add(endpoint);
    this.previous = error.code;
    const { retry } = policy;
    if (this.attempts > retry.attempts || !retry.on.has("connect-failure")) return this.end(error);
    if (!service.budget.takeRetry(retry, this.env.now())) {
      metrics.retryDenied(service.name, "budget");
      return this.end(error);
    }
    metrics.retry(service.name, "connect-failure");
    this.dial();
  }

  private end(error: ProxyError): void {
    this.release();
    if (!this.isLeft) this.owner.reached(error, null, NOTHING);
  }
}

/** What it speaks is no HTTP, and a sidecar stands before it. */
function isBehindPeer({ target }: Endpoint): boolean {
  return target.protocol === "tcp" && target.tls?.kind === "mesh";
}
