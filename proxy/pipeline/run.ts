/** Runs a compiled chain over an exchange: no promise, closure or array unless a hook returned a promise. */

import { askWhen, failed, refusal, skip, waitFor } from "./guard.ts";
import { Reply } from "./plugin.ts";
import { timedEvery } from "./chain.ts";
import type { Chain, PluginInstance } from "./chain.ts";
import type { AttemptInfo, AttemptOutcome, Connection, DoneInfo, EarlyRequest } from "./plugin.ts";
import type { ProxyError } from "../errors.ts";
import type { PipelineExchange } from "../exchange.ts";
import type { ResponseHead } from "../http/head.ts";

/** The step waits for a promise; `resume` will be called, exactly once, later (never when `runDone` came first). */
export const PENDING: unique symbol = Symbol("pending");
export type Outcome = Reply | null | typeof PENDING;
export type Resume = (x: PipelineExchange, result: Reply | null) => void;

/** `reached` of an exchange whose `done` hooks have run: promises that settle later are dropped. */
export const ENDED = -2;
/** `outward` before any response hook has run. */
const EVERY = 0x7fffffff;

/** Once per accepted connection. A reply means: close it. `when` needs a request and is not asked. */
export function runConnection(chain: Chain | null, conn: Connection): Reply | null {
  if (chain === null || chain.connection === null) return null;
  for (const step of chain.connection) {
    const { plugin } = step;
    try {
      if (plugin.trip.tripped && plugin.trip.isOpen()) {
        const answer = refusal(plugin);
        if (answer !== null) return answer;
        continue;
      }
      const result = step.run(conn);
      if (plugin.trip.tripped) plugin.trip.succeeded();
      if (result instanceof Reply) return result;
    } catch (error) {
      const answer = failed(plugin, "connection", error);
      if (answer !== null) return answer;
    }
  }
  return null;
}

/**
 * Before routing, on the plane's `unrouted` chain. Afterwards every plugin of that chain counts as reached (those up to
 * the one that replied, when one did), so that an answer given before a route is known, such as 404, passes through
 * their `response` and `done` hooks when the same chain is given to those runs.
 */
export function runEarly(
  chain: Chain | null,
  x: PipelineExchange,
  req: EarlyRequest,
): Reply | null {
  if (chain === null) return null;
  begin(chain, x);
  const steps = chain.early;
  for (let i = 0; steps !== null && i < steps.length; i++) {
    const step = steps[i]!;
    const { plugin } = step;
    x.reached = step.position;
    try {
      if (plugin.when !== null || plugin.trip.tripped) {
        const gate = askWhen(plugin, step.position, x);
        if (gate === skip) continue;
        if (gate !== null) return gate;
      }
      const result = step.run(req, x);
      if (plugin.trip.tripped) plugin.trip.succeeded();
      if (result instanceof Reply) return result;
    } catch (error) {
      const answer = failed(plugin, "early", error);
      if (answer !== null) return answer;
    }
  }
  x.reached = chain.plugins.length - 1;
  return null;
}

/** After routing, on the route's chain; give that chain to every later run of this exchange. */
export function runRequest(chain: Chain | null, x: PipelineExchange, resume: Resume): Outcome {
  if (chain === null) return null;
  begin(chain, x);
  return continueRequest(chain, x, resume, 0);
}

/** Per try. A reply ends the exchange; it is never retried. */
export function runAttempt(
  chain: Chain | null,
  x: PipelineExchange,
  info: AttemptInfo,
): Reply | null {
  if (chain === null || chain.attempt === null) return null;
  const steps = chain.attempt;
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i]!;
    const { plugin } = step;
    try {
      if (plugin.when !== null || plugin.trip.tripped) {
        const gate = askWhen(plugin, step.position, x);
        if (gate === skip) continue;
        if (gate !== null) return gate;
      }
      const result = step.run(info, x);
      if (plugin.trip.tripped) plugin.trip.succeeded();
      if (result instanceof Reply) return result;
    } catch (error) {
      const answer = failed(plugin, "attempt", error);
      if (answer !== null) return answer;
    }
  }
  return null;
}

/** Advice after a try: `fail` from one plugin outweighs `retry` from others. A throw gives no advice. */
export function runAttemptResult(
  chain: Chain | null,
  x: PipelineExchange,
  outcome: AttemptOutcome,
): "retry" | "fail" | null {
  if (chain === null || chain.attemptResult === null) return null;
  const steps = chain.attemptResult;
  let advice: "retry" | "fail" | null = null;
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i]!;
    const { plugin } = step;
    try {
      if (
        (plugin.when !== null || plugin.trip.tripped) &&
        askWhen(plugin, step.position, x) !== null
      )
        continue;
      const result = step.run(outcome, x);
      if (plugin.trip.tripped) plugin.trip.succeeded();
      if (result === "fail" || (result === "retry" && advice === null)) advice = result;
    } catch (error) {
      failed(plugin, "attemptResult", error);
    }
  }
  return advice;
}

/**
 * For the head that will be sent; sets `x.res`. Runs the plugins that were reached, in reverse. When the outcome is a
 * reply, it takes the head's place: call again with the new head, and only the plugins outside the replier run.
 */
export function runResponse(
  chain: Chain | null,
  x: PipelineExchange,
  res: ResponseHead,
  resume: Resume,
): Outcome {
  x.res = res;
  if (chain === null || chain.response === null) return null;
  return continueResponse(chain, x, resume, 0);
}

/** An error is about to become an answer: the first plugin, in reverse, that maps it wins. */
export function runError(
  chain: Chain | null,
  x: PipelineExchange,
  error: ProxyError,
): Reply | null {
  if (chain === null || chain.error === null) return null;
  const steps = chain.error;
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i]!;
    const { plugin } = step;
    if (step.position > x.reached) continue;
    try {
      if (
        (plugin.when !== null || plugin.trip.tripped) &&
        askWhen(plugin, step.position, x) !== null
      )
        continue;
      const result = step.run(error, x);
      if (plugin.trip.tripped) plugin.trip.succeeded();
      if (result instanceof Reply) return result;
    } catch (thrown) {
      failed(plugin, "error", thrown);
    }
  }
  return null;
}

/** The end, whatever it was: every plugin that was reached, in reverse, exactly once. Further calls do nothing. */
export function runDone(chain: Chain | null, x: PipelineExchange, info: DoneInfo): void {
  const reached = x.reached;
  x.reached = ENDED;
  if (chain === null || chain.done === null) return;
  const steps = chain.done;
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i]!;
    const { plugin } = step;
    if (step.position > reached) continue;
    try {
      // a tripped plugin still gets its done: it releases there what its request hook took
      if (plugin.when !== null && askWhen(plugin, step.position, x) === skip) continue;
      step.run(info, x);
    } catch (error) {
      failed(plugin, "done", error);
    }
  }
}

function begin(chain: Chain, x: PipelineExchange): void {
  x.reached = -1;
  x.outward = EVERY;
  x.bodyBelow = EVERY;
  x.whenCache = chain.conditional ? new Uint8Array(chain.plugins.length) : null;
}

/** Reports how long a call took once its result is there. Closures are made for timed calls only. */
function timed(plugin: PluginInstance, result: unknown, beganMs: number): void {
  const report = (): void => plugin.watch.took((performance.now() - beganMs) / 1000);
  if (typeof (result as PromiseLike<unknown> | null | undefined)?.then !== "function") report();
  else (result as PromiseLike<unknown>).then(report, report);
}

/** Zero: this call is not timed. */
function beginTiming(plugin: PluginInstance): number {
  if (--plugin.watch.untilTimed > 0) return 0;
  plugin.watch.untilTimed = timedEvery;
  return performance.now();
}

function continueRequest(chain: Chain, x: PipelineExchange, resume: Resume, from: number): Outcome {
  const steps = chain.request;
  if (steps !== null) {
    let i = from;
    while (i < steps.length) {
      try {
        for (; i < steps.length; i++) {
          const step = steps[i]!;
          const { plugin } = step;
          x.reached = step.position;
          if (plugin.when !== null || plugin.trip.tripped) {
            const gate = askWhen(plugin, step.position, x);
            if (gate === skip) continue;
            if (gate !== null) return gate;
          }
          const beganMs = beginTiming(plugin);
          const result = step.run(x.req, x);
          if (beganMs !== 0) timed(plugin, result, beganMs);
          if (result !== undefined && result !== null) {
            if (result instanceof Reply) return result;
            if (typeof result.then === "function")
              return suspendRequest(chain, x, resume, i, result);
          }
          if (plugin.trip.tripped) plugin.trip.succeeded();
        }
      } catch (error) {
        const answer = failed(steps[i]!.plugin, "request", error);
        if (answer !== null) return answer;
        i++;
      }
    }
  }
  x.reached = chain.plugins.length - 1;
  return null;
}

// closures stay out of the loops: V8 would allocate their context on every call
function suspendRequest(
  chain: Chain,
  x: PipelineExchange,
  resume: Resume,
  at: number,
  result: PromiseLike<unknown>,
): typeof PENDING {
  const step = chain.request![at]!;
  const goOn = (reply: Reply | null): void => {
    if (x.reached !== step.position) return;
    if (reply !== null) return resume(x, reply);
    const outcome = continueRequest(chain, x, resume, at + 1);
    if (outcome !== PENDING) resume(x, outcome);
  };
  waitFor({ plugin: step.plugin, hook: "request" }, result, {
    done: (value) => goOn(value instanceof Reply ? value : null),
    failed: goOn,
  });
  return PENDING;
}

function suspendResponse(
  chain: Chain,
  x: PipelineExchange,
  resume: Resume,
  at: number,
  result: PromiseLike<unknown>,
): typeof PENDING {
  const step = chain.response![at]!;
  const goOn = (reply: Reply | null): void => {
    if (x.reached === ENDED || x.outward !== step.position) return;
    if (reply !== null) return resume(x, reply);
    const outcome = continueResponse(chain, x, resume, at + 1);
    if (outcome !== PENDING) resume(x, outcome);
  };
  waitFor({ plugin: step.plugin, hook: "response" }, result, {
    done: (value) => goOn(value instanceof Reply ? value : null),
    failed: goOn,
  });
  return PENDING;
}

function continueResponse(
  chain: Chain,
  x: PipelineExchange,
  resume: Resume,
  from: number,
): Outcome {
  const steps = chain.response!;
  let i = from;
  while (i < steps.length) {
    try {
      for (; i < steps.length; i++) {
        const step = steps[i]!;
        const { plugin } = step;
        if (step.position > x.reached || step.position >= x.outward) continue;
        x.outward = step.position;
        if (plugin.when !== null || plugin.trip.tripped) {
          const gate = askWhen(plugin, step.position, x);
          if (gate === skip) continue;
          if (gate !== null) return gate;
        }
        const beganMs = beginTiming(plugin);
        const result = step.run(x.res!, x);
        if (beganMs !== 0) timed(plugin, result, beganMs);
        if (result !== undefined && result !== null) {
          if (result instanceof Reply) return result;
          if (typeof result.then === "function")
            return suspendResponse(chain, x, resume, i, result);
        }
        if (plugin.trip.tripped) plugin.trip.succeeded();
      }
    } catch (error) {
      const answer = failed(steps[i]!.plugin, "response", error);
      if (answer !== null) return answer;
      i++;
    }
  }
  return null;
}
