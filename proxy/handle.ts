/** The whole life of an exchange: match -> `request` hooks -> forward (tries) -> `response` hooks -> respond -> `done`. */

import { answers, fail, failOnBug, finish, reply, respondOwn } from "./answer.ts";
import { Collector, copyRequest } from "./again.ts";
import { serveApp } from "./app.ts";
import { ProxyError } from "./errors.ts";
import { Exchange, type ConnectionInfo, type Flow, type ServeEnv } from "./exchange.ts";
import type { RequestHead } from "./http/head.ts";
import { ownHead } from "./http/respond.ts";
import type { Downstream } from "./http/stream.ts";
import { readTarget } from "./http/target.ts";
import { openRequestBody } from "./pipeline/body.ts";
import type { Reply } from "./pipeline/plugin.ts";
import { PENDING, runEarly, runRequest } from "./pipeline/run.ts";
import { redirectLocation } from "./route/rewrite.ts";
import type { Redirect, Route, Target } from "./snapshot.ts";
import { GrpcWebCaller, isGrpcWeb } from "./http/grpc-web.ts";
import { prepareConnect } from "./tunnel/connect.ts";
import { isWebSocket, prepareTunnel } from "./tunnel/upgrade.ts";
import { learnProtocol } from "./upstream/endpoint-pool.ts";
import { Forward } from "./upstream/forward.ts";
import { callerTimeoutMs, callTimeoutMs, outgoingHead } from "./upstream/outgoing.ts";
import { sendBody } from "./request-body.ts";

/** A request head is complete: the rest of this file is what happens to it, in order. */
function begin(
  env: ServeEnv,
  downstream: Downstream,
  conn: ConnectionInfo,
  req: RequestHead,
): void {
  const x = new Exchange(env, downstream, conn, req);
  downstream.attach(x);
  env.metrics.active(1);
  try {
    keepCallersId(x);
    const refusal = readTarget(req, req.target);
    // CONNECT names a host and a port, and no path
    const isTunnel = req.method === "CONNECT";
    // where there is no tunnel, what was meant for it must not be read as requests
    if (isTunnel) downstream.closeAfter();
    if (refusal !== null && req.target !== "*" && !isTunnel) {
      downstream.closeAfter();
      return fail(x, new ProxyError("bad-request", refusal));
    }
    if (conn.misdirected(req.host)) return fail(x, misdirected(x));
    const made = runEarly(x.chain, x, req);
    if (made !== null) return reply(x, made);
    match(x);
  } catch (error) {
    failOnBug(x, error);
  }
}

/** Which route; 404 and 405 end here, and so does a caller that may not. */
function match(x: Exchange): void {
  const { req } = x;
  const found = x.plane.router.match(x);
  if (found.kind === "none")
    return fail(
      x,
      new ProxyError(
        "no-route",
        `no route for ${req.method} ${req.path}${req.host === "" ? "" : ` on ${req.host}`}`,
      ),
    );
  if (found.kind === "method") {
    const allow = found.allow.join(", ");
    return fail(
      x,
      new ProxyError("method-not-allowed", `${req.path} takes ${allow}, not ${req.method}`),
      [["allow", allow]],
    );
  }
  const route = found.value;
  if (req.method === "CONNECT" && !mayTunnel(x, route))
    return fail(
      x,
      new ProxyError("not-implemented", `CONNECT is not offered by route ${route.name}`),
    );
  x.matchedPrefix = found.matchedPrefix;
  x.route = route;
  choosePolicy(x, route);
  if (x.plane.access !== null && !isAllowed(x)) return;
  x.chain = route.chain;
  const outcome = runRequest(x.chain, x, afterRequestHooks);
  if (outcome === null) dispatch(x, route.target);
  else if (outcome !== PENDING) reply(x, outcome);
}

function afterRequestHooks(state: unknown, made: Reply | null): void {
  const x = state as Exchange;
  if (x.stage === "ended") return;
  try {
    if (made !== null) reply(x, made);
    else dispatch(x, x.route!.target);
    x.tunnel?.start();
    x.forward?.flush();
    x.downstream.flush();
  } catch (error) {
    failOnBug(x, error);
  }
}

/** The plugins let it through: now it goes where its route says. */
function dispatch(x: Exchange, target: Target): void {
  switch (target.kind) {
    case "service":
      return forward(x);
    case "redirect":
      return redirect(x, target.redirect);
    case "respond":
      return respond(x, target);
    case "app":
      return serveApp(x, target.app);
  }
}

function forward(x: Exchange): void {
  const { req } = x;
  if (req.method === "CONNECT") {
    x.tunnel = prepareConnect(x);
    return;
  }
  if (isGrpcWeb(req)) return forwardGrpcWeb(x);
  send(x);
}

/** To an endpoint of the service. */
function send(x: Exchange): void {
  const { req } = x;
  const head = outgoingHead(x);
  if (head === null)
    return fail(
      x,
      new ProxyError(
        "bad-request",
        `the rewritten path of ${req.path} would leave the route's prefix`,
      ),
    );
  if (req.upgrade !== null && isWebSocket(x)) {
    x.tunnel = prepareTunnel(x, head);
    return;
  }
  const body = openRequestBody(x.chain, x);
  if (body !== null && body.refusal !== null) return fail(x, body.refusal);
  const forwarding = new Forward(x, x.service!, x.policy!, head, answers);
  x.forward = forwarding;
  if (body !== null) return sendBody(x, forwarding, body);
  forwarding.start();
  takeEarly(x);
}

/** gRPC wants HTTP/2 from end to end; any other endpoint may speak gRPC-Web itself. */
function forwardGrpcWeb(x: Exchange): void {
  let isLate = false;
  const { endpoints } = x.service!;
  learnProtocol(endpoints, x.env, x.policy!.connectTimeoutMs, (http2) => {
    if (x.stage === "ended") return;
    try {
      if (!http2 || translate(x)) send(x);
      if (!isLate) return;
      // no turn of the caller's bytes is under way that would end with a flush
      x.forward?.flush();
      x.downstream.flush();
    } catch (error) {
      failOnBug(x, error);
    }
  });
  isLate = true;
}

/** From here on the exchange is gRPC, whatever its caller speaks. @returns false when it has ended over that */
function translate(x: Exchange): boolean {
  const caller = new GrpcWebCaller(x.downstream, x, x.req);
  x.downstream = caller;
  const early = x.early?.map((chunk) => caller.read(chunk)) ?? null;
  if (early === null) return true;
  if (early.every((chunk) => chunk !== null)) {
    x.early = early;
    return true;
  }
  fail(x, new ProxyError("bad-request", "the body is not base64, which its content-type says"));
  return false;
}

/** Body bytes that came while plugins were still deciding. */
function takeEarly(x: Exchange): void {
  const { early } = x;
  if (early === null) return;
  x.early = null;
  for (const chunk of early) flow.requestData(x, chunk);
  if (x.requestDone) flow.requestEnd(x, x.earlyTrailers);
  else x.downstream.resume();
}

function redirect(x: Exchange, to: Redirect): void {
  const { req } = x;
  const location = redirectLocation(to, {
    path: req.path,
    query: req.query,
    matchedPrefix: x.matchedPrefix,
    scheme: req.scheme,
    authority: req.authority,
    host: req.host,
  });
  if (location === null)
    return fail(
      x,
      new ProxyError("bad-request", `the redirect of ${req.path} would leave the route's prefix`),
    );
  const head = ownHead(to.status, Buffer.alloc(0), "reply");
  head.headers.append("location", location);
  respondOwn(x, { head, body: Buffer.alloc(0), code: null });
}

function respond(x: Exchange, target: Extract<Target, { kind: "respond" }>): void {
  const body = Buffer.from(target.body);
  const head = ownHead(target.status, body, "reply");
  for (const [name, value] of target.headers) head.headers.set(name, value);
  if (body.length > 0 && !target.headers.has("content-type"))
    head.headers.append("content-type", "text/plain; charset=utf-8");
  respondOwn(x, { head, body, code: null });
}

// === parts of the above ===

function keepCallersId(x: Exchange): void {
  if (!x.isTrusted) return;
  const id = x.req.headers.get("x-request-id");
  if (id !== undefined && /^[\x21-\x7e]{1,128}$/.test(id)) x.id = id;
}

/** An app names services by CONNECT at its own sidecar, and a peer needs an access rule that lists it; at the edge a route has to. */
function mayTunnel(x: Exchange, route: Route): boolean {
  return route.target.kind === "service" && (route.connects || x.env.mode !== "gateway");
}

function misdirected(x: Exchange): ProxyError {
  return new ProxyError(
    "misdirected",
    `${x.req.host} is not covered by the certificate of this connection`,
  );
}

/** The service, and with it the policy and the deadline. */
function choosePolicy(x: Exchange, route: Route): void {
  const { target } = route;
  if (target.kind === "service") {
    const choice = target.choices.next();
    x.service = choice.service;
    x.policy = choice.policy;
  } else x.policy = route.policy;
  const { env, policy } = x;
  x.timeoutMs = policy.timeoutMs;
  if (x.isTrusted) {
    const asked = callerTimeoutMs(x);
    if (asked > 0 && (x.timeoutMs === 0 || asked < x.timeoutMs)) x.timeoutMs = asked;
    const call = callTimeoutMs(x);
    if (call > 0) x.callDeadlineMs = x.startMs + call;
  }
  if (x.requestDone && x.timeoutMs > 0) x.deadlineMs = x.startMs + x.timeoutMs;
  const firstMs = Math.min(
    x.timeoutMs || Infinity,
    policy.idleTimeoutMs || Infinity,
    policy.totalTimeoutMs || Infinity,
    x.callDeadlineMs === 0 ? Infinity : x.callDeadlineMs - x.startMs,
  );
  if (firstMs !== Infinity) env.wheel.arm(x, x.startMs + firstMs);
}

/** Asks the access rules; answers 403 itself. */
function isAllowed(x: Exchange): boolean {
  const { plane, conn, req, env } = x;
  const to = plane.self === "" ? (x.service?.name ?? x.routeName) : plane.self;
  const source = conn.peer?.service ?? "";
  const decision = plane.access!.decide({
    peerId: conn.peer?.id ?? null,
    to,
    method: req.method,
    path: req.path,
  });
  for (const rule of decision.shadow) {
    env.metrics.access(rule, "shadow", source, to);
    env.log.info("access: a shadow rule would have decided", {
      rule,
      source,
      to,
      method: req.method,
      path: req.path,
    });
  }
  env.metrics.access(decision.rule, decision.allowed ? "allow" : "deny", source, to);
  if (decision.allowed) return true;
  const who = conn.peer === null ? "a caller without an identity" : conn.peer.id;
  const why = `${who} may not ${req.method} ${req.path} on ${to}: ${decision.rule}`;
  env.log.warn("access denied", {
    rule: decision.rule,
    source: conn.peer?.id ?? null,
    to,
    method: req.method,
    path: req.path,
  });
  // the reason is for verified peers; a stranger learns nothing about the rules
  fail(
    x,
    new ProxyError("forbidden", conn.peer === null ? "this caller is not allowed here" : why),
  );
  return false;
}

/** What the server calls. */
export const flow: Flow = {
  begin,
  refuse(env, downstream, conn, req, error) {
    const x = new Exchange(env, downstream, conn, req);
    x.requestDone = true;
    downstream.attach(x);
    env.metrics.active(1);
    try {
      fail(x, error);
    } catch (thrown) {
      env.log.error("internal error while refusing a request", { error: String(thrown) });
      downstream.abort();
    }
  },
  again(x, change, limitBytes) {
    const { env, route } = x;
    return new Promise((settle) => {
      const req = copyRequest(x.req);
      const copy = new Exchange(env, new Collector(limitBytes, settle), x.conn, req);
      env.metrics.active(1);
      // what comes back is for one plugin: the others have seen the request it came with
      copy.chain = null;
      copy.route = route;
      try {
        change(req.headers);
        choosePolicy(copy, route!);
        dispatch(copy, route!.target);
        copy.forward?.flush();
      } catch (error) {
        failOnBug(copy, error);
      }
    });
  },
  requestData(x, chunk) {
    x.requestBytes += chunk.length;
    x.lastByteMs = x.env.now();
    if (x.stage === "ended") return;
    if (x.requestBody !== null) {
      if (!x.requestBody.write(chunk)) x.downstream.pause();
    } else if (x.forward !== null) x.forward.sendData(chunk);
    else if (x.stage === "request") {
      x.early ??= [];
      x.early.push(Buffer.from(chunk));
      x.downstream.pause();
    }
  },
  requestEnd(x, trailers) {
    x.requestDone = true;
    if (x.stage === "ended") return;
    if (x.timeoutMs > 0) {
      x.deadlineMs = x.env.now() + x.timeoutMs;
      if (x.callDeadlineMs > 0) x.deadlineMs = Math.min(x.deadlineMs, x.callDeadlineMs);
      if (x.slot !== -1 && x.deadlineMs < x.dueMs) x.env.wheel.arm(x, x.deadlineMs);
    }
    if (x.requestBody !== null) x.requestBody.end();
    else if (x.forward !== null) x.forward.sendEnd(trailers);
    x.earlyTrailers = trailers;
  },
  requestError: fail,
  callerGone(x) {
    if (x.stage === "ended") return;
    x.code = "client-closed";
    x.tunnel?.destroy("client-aborted");
    finish(x, "client-aborted");
  },
  callerReady(x) {
    if (x.stage === "responding") x.forward?.resumeAnswer();
  },
  turnEnd(x) {
    if (x.tunnel !== null) x.tunnel.start();
    x.forward?.flush();
  },
  expire(x, nowMs) {
    const { policy, env } = x;
    if (policy === null || x.stage === "ended") return;
    if (policy.totalTimeoutMs > 0 && nowMs >= x.startMs + policy.totalTimeoutMs)
      return fail(x, overdue(x, "totalTimeout", policy.totalTimeoutMs));
    if (x.callDeadlineMs > 0 && nowMs >= x.callDeadlineMs) {
      x.forward?.blame();
      return fail(x, overdue(x, "grpc-timeout", x.callDeadlineMs - x.startMs));
    }
    if (x.stage === "request" && x.requestDone && x.deadlineMs > 0 && nowMs >= x.deadlineMs) {
      x.forward?.blame();
      return fail(x, overdue(x, "timeout", x.timeoutMs));
    }
    const idleMs = policy.idleTimeoutMs;
    if (x.tunnel?.takeMoved() === true) x.lastByteMs = nowMs;
    const waitsForAnswer = x.stage === "request" && x.requestDone;
    if (idleMs > 0 && nowMs >= x.lastByteMs + idleMs && !waitsForAnswer) {
      const what = x.requestDone ? "deadline-exceeded" : "request-timeout";
      return fail(
        x,
        new ProxyError(
          what,
          `no byte ${x.requestDone ? "of the answer" : "of the request body"} for ${idleMs} ms (idleTimeout)`,
        ),
      );
    }
    let nextMs = Infinity;
    if (policy.totalTimeoutMs > 0) nextMs = x.startMs + policy.totalTimeoutMs;
    if (x.callDeadlineMs > 0) nextMs = Math.min(nextMs, x.callDeadlineMs);
    if (waitsForAnswer) {
      if (x.deadlineMs > 0) nextMs = Math.min(nextMs, x.deadlineMs);
      // an answer may begin before the deadline and stop moving: look in time for that
      if (idleMs > 0) nextMs = Math.min(nextMs, nowMs + idleMs);
    } else if (idleMs > 0) {
      // the bytes of a tunnel leave a mark and no time: it is looked for often enough to be at most a quarter late
      const lookMs = x.tunnel === null ? x.lastByteMs + idleMs : nowMs + idleMs / 4;
      nextMs = Math.min(nextMs, lookMs);
    }
    if (nextMs !== Infinity) env.wheel.arm(x, nextMs);
  },
};

function overdue(x: Exchange, name: string, limitMs: number): ProxyError {
  const where = x.service === null ? `route ${x.routeName}` : `service ${x.service.name}`;
  const last =
    x.endpoint === null
      ? ""
      : `; ${x.attempts === 1 ? "the try" : `the last of ${x.attempts} tries`} went to ${x.endpoint}`;
  return new ProxyError(
    "deadline-exceeded",
    `no answer from ${where} within ${limitMs} ms (${name})${last}`,
  );
}
