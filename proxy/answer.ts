/** The way back: heads through the `response` hooks, bodies through theirs, and the end of every exchange in one place. */

import { catalogue, ProxyError } from "./errors.ts";
import type { Exchange } from "./exchange.ts";
import type { ResponseHead } from "./http/head.ts";
import { asBuffer } from "./http/latin1.ts";
import { answerToError, answerToReply, grpcLines, type OwnAnswer } from "./http/respond.ts";
import { releaseArrays } from "./http1/scan.ts";
import { type BodyTransform, openResponseBody } from "./pipeline/body.ts";
import type { DoneInfo, Reply } from "./pipeline/plugin.ts";
import { ENDED, PENDING, runDone, runError, runResponse } from "./pipeline/run.ts";
import type { AnswerSink } from "./upstream/forward.ts";

/** Ends the exchange with an error, as an answer when none has begun. */
export function fail(
  x: Exchange,
  error: ProxyError,
  headers?: readonly (readonly [string, string])[],
): void {
  if (x.stage === "ended") return;
  x.code = error.code;
  x.detail = error.message;
  stopForward(x);
  if (x.stage === "responding" || error.code === "client-closed") return cut(x);
  const mapped = runError(x.chain, x, error);
  respondOwn(
    x,
    mapped === null
      ? answerToError(error, x.req, x.id, headers)
      : answerToReply(mapped, x.req, x.id),
  );
}

/** Answers with what a plugin made. */
export function reply(x: Exchange, made: Reply): void {
  if (x.stage === "ended") return;
  stopForward(x);
  if (x.stage === "responding") return cut(x);
  x.code = made.code;
  x.detail = made.detail;
  respondOwn(x, answerToReply(made, x.req, x.id));
}

/** Sends an answer of ours, through the hooks. */
export function respondOwn(x: Exchange, answer: OwnAnswer): void {
  if (x.code === null) x.code = answer.code;
  x.ownBody = answer.body;
  if (!x.requestDone) x.downstream.closeAfter();
  respond(x, answer.head);
}

/** A bug of ours or of a plugin must cost one exchange, never the process. */
export function failOnBug(x: Exchange, thrown: unknown): void {
  x.env.log.error("internal error", {
    error: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown),
    request: x.id,
    route: x.routeName,
  });
  fail(
    x,
    new ProxyError("internal-error", "weft failed on this request; the log has the reason", {
      cause: thrown,
    }),
  );
}

function stopForward(x: Exchange): void {
  const { forward } = x;
  x.forward = null;
  forward?.cancel();
  if (x.stage !== "responding") {
    x.tunnel?.abandon();
    x.tunnel = null;
  }
  x.requestBody?.destroy();
  x.requestBody = null;
  x.responseBody?.destroy();
  x.responseBody = null;
  x.answerEnded = null;
  x.answerHeld = false;
  x.heldAnswer = null;
}

// === heads ===

function respond(x: Exchange, head: ResponseHead): void {
  x.stage = "waiting";
  const outcome = runResponse(x.chain, x, head, afterResponseHooks);
  if (outcome === null) return sendHead(x, head);
  if (outcome === PENDING) {
    x.answerHeld = true;
    x.forward?.pauseAnswer();
  } else replace(x, outcome);
}

function afterResponseHooks(state: unknown, result: Reply | null): void {
  const x = state as Exchange;
  if (x.stage === "ended") return;
  try {
    x.answerHeld = false;
    if (result !== null) return replace(x, result);
    sendHead(x, x.res!);
    const held = x.heldAnswer;
    x.heldAnswer = null;
    for (const chunk of held ?? []) answers.onData(x, chunk);
    const trailers = x.answerEnded;
    if (trailers !== null) answers.onEnd(x, trailers);
    else x.forward?.resumeAnswer();
    x.downstream.flush();
  } catch (error) {
    failOnBug(x, error);
  }
}

/** A response hook answers in place of the head it was shown. */
function replace(x: Exchange, made: Reply): void {
  stopForward(x);
  x.code = made.code;
  x.detail = made.detail;
  respondOwn(x, answerToReply(made, x.req, x.id));
}

function sendHead(x: Exchange, head: ResponseHead): void {
  const body =
    x.chain === null || x.chain.responseBody === null ? null : openResponseBody(x.chain, x, head);
  if (body !== null) return sendThrough(x, head, body);
  commit(x, head);
  if (x.ownBody !== null) sendOwnBody(x, x.ownBody);
}

function commit(x: Exchange, head: ResponseHead): void {
  x.stage = "responding";
  x.status = head.status;
  x.downstream.sendHead(head, x.attempts > 1 ? `x-weft-attempts: ${x.attempts}\r\n` : "");
}

function sendOwnBody(x: Exchange, body: Buffer): void {
  x.ownBody = null;
  if (body.length > 0 && x.req.method !== "HEAD") send(x, body);
  end(x, "");
}

// === bodies ===

/** The body goes through plugins: its length is theirs to say. */
function sendThrough(x: Exchange, head: ResponseHead, body: BodyTransform): void {
  x.responseBody = body;
  const commitOnce = (): void => {
    if (x.stage !== "waiting") return;
    head.contentLength = body.outputLength;
    head.framing = body.outputLength >= 0 ? "length" : "chunked";
    commit(x, head);
  };
  body.sink = {
    onData: (bytes) => {
      commitOnce();
      send(x, asBuffer(bytes));
    },
    onEnd: () => {
      commitOnce();
      x.responseBody = null;
      end(x, x.answerEnded ?? "");
    },
    onReady: () => x.forward?.resumeAnswer(),
    onReply: (made) => (x.stage === "waiting" ? replace(x, made) : cut(x)),
    onError: (error) => fail(x, error),
  };
  if (!body.holdsHead) commitOnce();
  const own = x.ownBody;
  if (own === null) return;
  x.ownBody = null;
  x.answerEnded = "";
  if (own.length > 0) body.write(own);
  body.end();
}

/** @returns false when the caller should be waited for */
function send(x: Exchange, chunk: Buffer): boolean {
  x.responseBytes += chunk.length;
  const ready = x.downstream.sendData(chunk);
  if (!ready) x.forward?.pauseAnswer();
  return ready;
}

function end(x: Exchange, trailers: string): void {
  x.downstream.sendEnd(trailers);
  finish(x, "complete");
}

/** The answer cannot be completed: the caller must see that. */
function cut(x: Exchange): void {
  const { downstream } = x;
  const kind = x.code === "client-closed" ? "client-aborted" : "upstream-aborted";
  const { tunnel, code } = x;
  // gRPC has a place for what goes wrong after the head: the trailers
  const inTrailers =
    code !== null && code !== "client-closed" && x.res?.framing === "chunked" && x.req.isGrpc;
  // a tunnel knows how many bytes have passed
  tunnel?.destroy(kind);
  finish(x, kind);
  if (tunnel !== null) return;
  if (inTrailers) {
    downstream.sendEnd(grpcLines(catalogue[code].grpc, x.detail));
    downstream.flush();
  } else downstream.abort();
}

/** What comes from upstream. */
export const answers: AnswerSink = {
  onInformational(x, head) {
    // a 100 that the caller did not ask for is between us and the endpoint
    if (x.stage === "request" && (head.status !== 100 || x.req.expectContinue))
      x.downstream.sendInformational(head);
  },
  onHead(x, head) {
    x.lastByteMs = x.env.now();
    // an answer before the end of the request is mostly a refusal: nobody will read the rest
    if (!x.requestDone && head.status >= 300) x.downstream.closeAfter();
    respond(x, head);
  },
  onData(x, chunk) {
    x.lastByteMs = x.env.now();
    if (x.responseBody !== null) {
      if (!x.responseBody.write(chunk)) x.forward?.pauseAnswer();
    } else if (x.answerHeld) {
      // at most what was already read when the head had to wait: reading has stopped
      x.heldAnswer ??= [];
      x.heldAnswer.push(Buffer.from(chunk));
    } else send(x, chunk);
  },
  onEnd(x, trailers) {
    x.forward = null;
    if (x.answerHeld) x.answerEnded = trailers;
    else if (x.responseBody !== null) {
      x.answerEnded = trailers;
      x.responseBody.end();
    } else end(x, trailers);
  },
  onFailure: fail,
  onCut(x, error) {
    x.forward = null;
    x.code = error.code;
    x.detail = error.message;
    if (x.stage === "waiting") return fail(x, error);
    cut(x);
  },
  onReply: reply,
  onTurnEnd(x) {
    x.downstream.flush();
  },
};

// === the end ===

/** Exactly once: counts, logs, tells the plugins, and lets go of everything. */
export function finish(x: Exchange, how: DoneInfo["end"]): void {
  if (x.stage === "ended") return;
  x.stage = "ended";
  const { env, req } = x;
  if (x.slot !== -1) env.wheel.disarm(x);
  const { forward } = x;
  x.forward = null;
  if (how !== "complete") forward?.cancel();
  x.requestBody?.destroy();
  x.responseBody?.destroy();
  const durationMs = env.now() - x.startMs;
  const status = how === "client-aborted" && x.status === 0 ? 499 : x.status;
  env.metrics.active(-1);
  env.metrics.request(
    x.conn.listener,
    x.routeName,
    x.serviceName,
    req.method,
    status,
    x.code,
    durationMs,
    x.requestBytes,
    x.responseBytes,
  );
  const hasDone = x.chain !== null && x.chain.done !== null;
  if (hasDone || env.accessLog !== null) {
    const info: DoneInfo = {
      status,
      code: x.code,
      durationMs,
      requestBytes: x.requestBytes,
      responseBytes: x.responseBytes,
      attempts: x.attempts,
      endpoint: x.endpoint,
      end: how,
      detail: x.detail,
    };
    runDone(x.chain, x, info);
    env.accessLog?.log(x, info);
  } else x.reached = ENDED;
  if (how !== "complete") x.cancelSignal();
  x.snapshot.use.leave();
  if (x.res !== null && x.res.source === "upstream") releaseArrays(x.res.headers);
  releaseArrays(req.headers);
}
