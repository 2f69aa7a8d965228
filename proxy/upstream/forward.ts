/** Sends a request to a service: picks an endpoint, tries, and tries again where that is safe. */

import { Timed } from "../clock.ts";
import { ProxyError } from "../errors.ts";
import type { Exchange, Forwarding } from "../exchange.ts";
import { Fields, Kind } from "../http/fields.ts";
import type { ResponseHead } from "../http/head.ts";
import type { ResponseSink, UpstreamStream } from "../http/stream.ts";
import { releaseArrays } from "../http1/scan.ts";
import type { Reply } from "../pipeline/plugin.ts";
import { runAttempt, runAttemptResult } from "../pipeline/run.ts";
import type { Endpoint } from "../service/endpoint.ts";
import type { Service, TryOutcome } from "../service/service.ts";
import type { Policy } from "../snapshot.ts";
import { canFinish } from "../../policies/timeout.ts";
import {
  backoffMs,
  grpcRetryNames,
  isIdempotent,
  judgeRetry,
  type FailureKind,
} from "../../policies/retry.ts";
import { poolOf } from "./endpoint-pool.ts";

/** Body bytes kept for another try; more, and the request is sent once (Linkerd keeps as much). */
const REPLAY_BYTES = 64 * 1024;

/** The exchange, as its forwarding sees it. */
export interface AnswerSink {
  onInformational(x: Exchange, head: ResponseHead): void;
  onHead(x: Exchange, head: ResponseHead): void;
  onData(x: Exchange, chunk: Buffer): void;
  onEnd(x: Exchange, trailers: string): void;
  /** No answer will come. */
  onFailure(x: Exchange, error: ProxyError): void;
  /** The answer broke off after its head. */
  onCut(x: Exchange, error: ProxyError): void;
  /** A plugin answers instead. */
  onReply(x: Exchange, reply: Reply): void;
  onTurnEnd(x: Exchange): void;
}

/** What goes upstream, but for what an `attempt` hook changes. */
export interface OutgoingHead {
  readonly target: string;
  readonly authority: string;
  readonly drop: Uint8Array;
  readonly extra: string;
}

type Phase = "idle" | "connecting" | "backing-off" | "sent" | "answering" | "over";

/** One request on its way to a service, over all its tries. */
export class Forward extends Timed implements ResponseSink, Forwarding {
  private readonly x: Exchange;
  private readonly service: Service;
  private readonly policy: Policy;
  private readonly head: OutgoingHead;
  private readonly answers: AnswerSink;
  private phase: Phase = "idle";
  private tries = 0;
  private endpoint: Endpoint | null = null;
  private connection: UpstreamStream | null = null;
  private dialling: { cancel(): void } | null = null;
  private attemptStartMs = 0;
  /** The service has been told how this try went. */
  private reported = false;
  private tried: Set<Endpoint> | null = null;
  private previous: string | null = null;
  private attemptFields: Fields | null = null;
  /** A request lost on a reused connection has been sent again: once. */
  private replayed = false;
  /** Before the next try, in ms. */
  private waitMs = 0;
  /** What the endpoint itself asked for, in ms. */
  private askedToWaitMs = 0;

  /** Request bytes at hand for the next try; null once they are gone. */
  private kept: Buffer[] | null = [];
  private keptBytes = 0;
  private keepForRetry: boolean;
  private bodyDone: boolean;
  private trailers = "";
  private callerPaused = false;

  constructor(
    x: Exchange,
    service: Service,
    policy: Policy,
    head: OutgoingHead,
    answers: AnswerSink,
  ) {
    super();
    this.x = x;
    this.service = service;
    this.policy = policy;
    this.head = head;
    this.answers = answers;
    this.bodyDone = false;
    this.keepForRetry =
      policy.retry.attempts > 0 &&
      (isIdempotent(x.req.method) || hasKind(x.req.headers, Kind.idempotencyKey)) &&
      x.req.contentLength <= REPLAY_BYTES;
  }

  get endpointAddress(): string | null {
    return this.endpoint?.address ?? null;
  }

  start(): void {
    // an empty body has no end to wait for; plugins may have changed the length since the constructor
    const { req } = this.x;
    if (req.framing === "none" || (req.framing === "length" && req.contentLength === 0))
      this.bodyDone = true;
    this.service.budget.request(this.x.env.now());
    this.try();
  }

  // === the request's body ===

  sendData(chunk: Buffer): void {
    if (this.phase === "over") return;
    const isOpen = this.connection !== null;
    if (this.kept !== null) {
      if (!isOpen || (this.keepForRetry && this.keptBytes + chunk.length <= REPLAY_BYTES)) {
        this.kept.push(Buffer.from(chunk));
        this.keptBytes += chunk.length;
      } else this.kept = null;
    }
    if (!isOpen) this.holdCaller();
    else if (!this.connection!.write(chunk)) this.holdCaller();
  }

  sendEnd(trailers: string): void {
    this.bodyDone = true;
    this.trailers = trailers;
    if (this.connection !== null && this.phase !== "over") this.connection.end(trailers);
  }

  flush(): void {
    this.connection?.flush();
  }

  private holdCaller(): void {
    if (this.callerPaused) return;
    this.callerPaused = true;
    this.x.downstream.pause();
  }

  private releaseCaller(): void {
    if (!this.callerPaused) return;
    this.callerPaused = false;
    this.x.downstream.resume();
  }

  pauseAnswer(): void {
    this.connection?.pause();
  }

  resumeAnswer(): void {
    this.connection?.resume();
  }

  /** Gives up: nothing is reported afterwards. */
  cancel(): void {
    if (this.phase === "over") return;
    this.leaveAttempt();
    this.phase = "over";
    this.dialling?.cancel();
    this.dialling = null;
    const connection = this.connection;
    this.connection = null;
    connection?.cancel();
  }

  blame(): void {
    if (this.phase === "connecting" || this.phase === "sent")
      this.report("failure", this.x.env.now());
  }

  // === tries ===

  private try(): void {
    const { x } = this;
    const nowMs = x.env.now();
    const endpoint = this.service.pick(this.tried, nowMs);
    if (endpoint === "no-endpoint" || endpoint === "all-ejected")
      return this.giveUp(this.noEndpoint(endpoint));
    this.tries++;
    x.attempts = this.tries;
    x.endpoint = endpoint.address;
    this.endpoint = endpoint;
    endpoint.active++;
    this.attemptStartMs = nowMs;
    this.reported = false;
    this.phase = "connecting";
    if (x.chain !== null && x.chain.attempt !== null && !this.askAttemptHooks(endpoint)) return;
    if (this.policy.attemptTimeoutMs > 0)
      x.env.wheel.arm(this, nowMs + this.policy.attemptTimeoutMs);
    const connection = poolOf(endpoint, x.env, x.req).take();
    if (connection !== null) return this.send(connection);
    this.connect(endpoint);
  }

  private noEndpoint(why: "no-endpoint" | "all-ejected"): ProxyError {
    const name = this.service.name;
    return why === "no-endpoint"
      ? new ProxyError("no-endpoint", `service ${name} has no endpoint`)
      : new ProxyError("all-ejected", `every endpoint of service ${name} is unhealthy or ejected`);
  }

  /** @returns false when a hook has answered */
  private askAttemptHooks(endpoint: Endpoint): boolean {
    const { x } = this;
    const fields = copyOf(x.req.headers);
    this.attemptFields = fields;
    const info = {
      number: this.tries,
      service: this.service.name,
      endpoint: endpoint.address,
      headers: fields,
      previous: this.previous,
    };
    const reply = runAttempt(x.chain, x, info);
    if (reply === null) return true;
    this.leaveAttempt();
    this.phase = "over";
    this.answers.onReply(x, reply);
    return false;
  }

  private connect(endpoint: Endpoint): void {
    this.phase = "connecting";
    this.dialling = poolOf(endpoint, this.x.env, this.x.req).connect(
      endpoint.target,
      this.policy.connectTimeoutMs,
      (error, connection) => this.connected(error, connection),
    );
  }

  private connected(error: ProxyError | null, connection: UpstreamStream | null): void {
    this.dialling = null;
    if (this.phase !== "connecting") connection?.cancel();
    else if (connection === null) this.failed("connect-failure", error!, true);
    else {
      this.send(connection);
      // no turn of the caller's bytes is under way that would end with a flush
      connection.flush();
    }
  }

  private send(connection: UpstreamStream): void {
    const { x, head } = this;
    this.phase = "sent";
    this.connection = connection;
    const { req } = x;
    const { target, authority, drop, extra } = head;
    const fields = this.attemptFields ?? req.headers;
    if (connection.mayRefuse && this.policy.retry.attempts > 0)
      this.keepForRetry = req.contentLength <= REPLAY_BYTES;
    connection.send(this, { req, fields, target, authority, drop, extra });
    if (req.framing === "none") return;
    const kept = this.kept;
    if (kept !== null) {
      for (const chunk of kept) connection.write(chunk);
      if (!this.keepForRetry && kept.length > 0) this.kept = null;
    }
    if (this.bodyDone) connection.end(this.trailers);
    // also when the body is complete: a connection that is not read does not tell that its caller is gone
    this.releaseCaller();
  }

  override onDue(): void {
    if (this.phase === "backing-off") {
      this.try();
      return this.flush();
    }
    if (this.phase === "connecting" || this.phase === "sent") {
      const ms = this.policy.attemptTimeoutMs;
      const what = this.phase === "sent" ? "no answer" : "no connection";
      const error = new ProxyError(
        "attempt-timeout",
        `${what} from ${this.endpoint!.address} (service ${this.service.name}) within ${ms} ms (attemptTimeout)`,
      );
      const nothingSent = this.phase === "connecting";
      this.dropAttempt();
      this.failed("attempt-timeout", error, nothingSent);
    }
  }

  /** Cuts the connection of this try. */
  private dropAttempt(): void {
    this.dialling?.cancel();
    this.dialling = null;
    const connection = this.connection;
    this.connection = null;
    connection?.cancel();
  }

  /** The endpoint no longer works on this request. */
  private leaveAttempt(): void {
    if (this.slot !== -1) this.x.env.wheel.disarm(this);
    if (
      this.endpoint === null ||
      this.phase === "over" ||
      this.phase === "backing-off" ||
      this.phase === "idle"
    )
      return;
    this.endpoint.active--;
    this.report("cancelled", this.x.env.now());
  }

  private report(outcome: TryOutcome, nowMs: number): void {
    if (this.reported) return;
    this.reported = true;
    this.service.report(this.endpoint!, outcome, nowMs - this.attemptStartMs, nowMs);
  }

  // === impl ResponseSink ===

  onInformational(head: ResponseHead): void {
    this.answers.onInformational(this.x, head);
  }

  onHead(head: ResponseHead): void {
    const { x } = this;
    const nowMs = x.env.now();
    if (this.slot !== -1) x.env.wheel.disarm(this);
    const { status } = head;
    const grpc = trailersOnlyStatus(head);
    this.report(status >= 500 || isGrpcFailure(grpc) ? "failure" : "success", nowMs);
    x.env.metrics.attempt(this.service.name, this.endpoint!.address, statusClass(status));
    if (grpc > 0) {
      if (this.retriesGrpc(head, grpc, nowMs)) return;
    } else if (status >= 500 || x.chain?.attemptResult != null) {
      if (status === 503) this.askedToWaitMs = retryAfterMs(head.headers);
      const advice = this.advice(status, null, nowMs);
      if (
        (status >= 500 || advice === "retry") &&
        this.mayRetry("status", status, false, advice, nowMs)
      ) {
        releaseArrays(head.headers);
        this.dropAttempt();
        return this.retry(String(status), nowMs);
      }
    }
    this.phase = "answering";
    this.kept = null;
    this.answers.onHead(x, head);
  }

  /** gRFC A6: an answer of trailers only may be tried again by its code, and its server may ask for it or forbid it. */
  private retriesGrpc(head: ResponseHead, status: number, nowMs: number): boolean {
    const pushback = head.headers.get("grpc-retry-pushback-ms");
    const asked = pushback !== undefined && /^\d{1,9}$/.test(pushback);
    const advice = this.advice(head.status, null, nowMs);
    if (pushback !== undefined && !asked) return false;
    this.askedToWaitMs = asked ? Number(pushback) : 0;
    // a server that asks for another try has not acted on this one
    if (!this.mayRetry("grpc-status", status, asked, advice, nowMs)) return false;
    releaseArrays(head.headers);
    this.dropAttempt();
    this.retry(`grpc-${grpcRetryNames[status] ?? status}`, nowMs);
    return true;
  }

  onResponseData(chunk: Buffer): void {
    this.answers.onData(this.x, chunk);
  }

  onResponseEnd(trailers: string): void {
    this.leaveAttempt();
    this.phase = "over";
    this.connection = null;
    this.answers.onEnd(this.x, trailers);
  }

  onFailure(error: ProxyError, silent: boolean): void {
    const connection = this.connection!;
    this.connection = null;
    if (this.phase === "answering") {
      this.leaveAttempt();
      this.phase = "over";
      return this.answers.onCut(this.x, error);
    }
    if (silent && connection.isReused && !this.replayed && this.mayReplay()) {
      // the keep-alive race: the endpoint was closing the connection while we wrote (node.md, bug 6)
      this.replayed = true;
      const { metrics } = this.x.env;
      metrics.attempt(this.service.name, this.endpoint!.address, "reused-connection-lost");
      metrics.retry(this.service.name, "reused-connection-lost");
      this.connect(this.endpoint!);
      return;
    }
    if (error.retryable) this.failed("refused-stream", error, true);
    else this.failed(silent ? "reset-before-response" : "other", error, false);
  }

  onUpstreamReady(): void {
    this.releaseCaller();
  }

  onTurnEnd(): void {
    this.answers.onTurnEnd(this.x);
  }

  // === retries ===

  private mayReplay(): boolean {
    return (
      this.kept !== null &&
      (isIdempotent(this.x.req.method) || hasKind(this.x.req.headers, Kind.idempotencyKey))
    );
  }

  private failed(kind: FailureKind, error: ProxyError, nothingSent: boolean): void {
    const { x } = this;
    const nowMs = x.env.now();
    const endpoint = this.endpoint!;
    this.report("failure", nowMs);
    x.env.metrics.attempt(this.service.name, endpoint.address, error.code);
    const advice = x.chain?.attemptResult == null ? null : this.advice(0, error, nowMs);
    if (this.mayRetry(kind, 0, nothingSent, advice, nowMs)) return this.retry(kind, nowMs);
    this.giveUp(error);
  }

  private advice(status: number, error: ProxyError | null, nowMs: number): "retry" | "fail" | null {
    const { x } = this;
    if (x.chain === null || x.chain.attemptResult === null) return null;
    return runAttemptResult(x.chain, x, {
      number: this.tries,
      service: this.service.name,
      endpoint: this.endpoint!.address,
      headers: this.attemptFields ?? x.req.headers,
      previous: this.previous,
      ok: status > 0,
      status,
      error,
      durationMs: nowMs - this.attemptStartMs,
    });
  }

  private mayRetry(
    kind: FailureKind,
    status: number,
    nothingSent: boolean,
    advice: "retry" | "fail" | null,
    nowMs: number,
  ): boolean {
    const { x, policy } = this;
    const verdict = judgeRetry(policy.retry, {
      kind,
      status,
      tries: this.tries,
      method: x.req.method,
      hasIdempotencyKey: hasKind(x.req.headers, Kind.idempotencyKey),
      nothingSent,
      bodyReplayable: this.kept !== null,
      responseStarted: false,
      nowMs,
      deadlineMs: x.deadlineMs,
      advice,
    });
    if (verdict === "none") return false;
    this.waitMs = Math.max(this.askedToWaitMs, backoffMs(policy.retry, this.tries, x.env.random()));
    this.askedToWaitMs = 0;
    let denied: string | null = null;
    if (verdict !== "retry") denied = verdict;
    else if (!canFinish(nowMs, this.waitMs, this.endpoint!.latencyMs, x.deadlineMs))
      denied = "deadline";
    else if (!this.service.budget.takeRetry(policy.retry, nowMs)) denied = "budget";
    if (denied === null) return true;
    x.env.metrics.retryDenied(this.service.name, denied);
    return false;
  }

  private retry(reason: string, nowMs: number): void {
    const { x } = this;
    x.env.metrics.retry(this.service.name, reason);
    this.leaveAttempt();
    this.previous = `${this.endpoint!.address}: ${reason}`;
    this.tried ??= new Set();
    this.tried.add(this.endpoint!);
    this.endpoint = null;
    this.phase = "backing-off";
    x.env.wheel.arm(this, nowMs + this.waitMs);
  }

  private giveUp(error: ProxyError): void {
    this.leaveAttempt();
    this.phase = "over";
    this.answers.onFailure(this.x, error);
  }
}

const classNames = ["0xx", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"] as const;

function statusClass(status: number): string {
  return classNames[(status / 100) | 0]!;
}

/** `Retry-After` in seconds (RFC 9110 section 10.2.3), as ms; a date, or none: 0. */
function retryAfterMs(fields: Fields): number {
  const value = fields.get("retry-after");
  return value !== undefined && /^\d{1,6}$/.test(value) ? Number(value) * 1000 : 0;
}

/** `grpc-status` of an answer that is nothing but a head; -1: it is another kind of answer. */
function trailersOnlyStatus(head: ResponseHead): number {
  if (head.status !== 200 || head.framing !== "length" || head.contentLength !== 0) return -1;
  const status = head.headers.get("grpc-status");
  return status !== undefined && /^\d{1,2}$/.test(status) ? Number(status) : -1;
}

/** Codes that speak against the endpoint (Linkerd's list): unknown, deadline, internal, unavailable, data loss. */
function isGrpcFailure(status: number): boolean {
  return status === 2 || status === 4 || status === 13 || status === 14 || status === 15;
}

/** True when a field of that kind was received. */
export function hasKind(fields: Fields, kind: number): boolean {
  for (let i = 0; i < fields.count; i++) if (fields.kinds[i] === kind) return true;
  return false;
}

/** The same received fields with edits of their own. */
export function copyOf(fields: Fields): Fields {
  const copy = new Fields();
  copy.raw = fields.raw;
  copy.offsets = fields.offsets;
  copy.kinds = fields.kinds;
  copy.count = fields.count;
  copy.edits = fields.edits === null ? null : [...fields.edits];
  copy.secrets = fields.secrets;
  return copy;
}
