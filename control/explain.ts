/** Says what would happen to a request: the route it takes, why the others lost, and what runs on the way. */

import type { Config, PluginUse, RouteConfig } from "./config.ts";
import { loadDefinitions, runsIn, type Definitions } from "./compile/definitions.ts";
import { effectivePolicy, policyFor } from "./compile/policy.ts";
import { routesFor, toRule } from "./compile/rules.ts";
import { mergeUses } from "./compile/uses.ts";
import { explainLosers, type Lost } from "./explain/losers.ts";
import { readQuestion, type AskedRequest, type Question } from "./explain/question.ts";
import { compileChain } from "../proxy/pipeline/compile.ts";
import type { PluginInstance } from "../proxy/pipeline/chain.ts";
import type { Mode, Stage } from "../proxy/pipeline/plugin.ts";
import { Trip } from "../proxy/pipeline/trip.ts";
import { compileRouter } from "../proxy/route/match.ts";
import { changeTarget, redirectLocation } from "../proxy/route/rewrite.ts";
import type { Policy } from "../proxy/snapshot.ts";

export { formatExplanation } from "./explain/text.ts";
export type { Question } from "./explain/question.ts";

/** An endpoint of the service; live state where it is known. */
export interface ExplainedEndpoint {
  readonly service: string;
  readonly address: string;
  readonly healthy?: boolean;
  readonly state?: string;
  /** ISO 8601; null: not ejected. */
  readonly ejectedUntil?: string | null;
}

/** The shape of CONTRACT section 6, and what makes it readable. Milliseconds; null: no limit. */
export interface Explanation {
  /** Null: no route takes it. */
  readonly route: string | null;
  readonly lost: readonly Lost[];
  /** Names in run order. */
  readonly plugins: readonly string[];
  readonly timeouts: Readonly<Record<keyof ExplainedTimeouts, number | null>> | null;
  readonly retry: ExplainedRetry | null;
  /** The one with the greatest weight when there are several; null for a route without one. */
  readonly service: string | null;
  readonly endpoints: readonly ExplainedEndpoint[];
  /** The request as routing read it. */
  readonly request: {
    readonly method: string;
    readonly host: string;
    readonly path: string;
    readonly query: string;
  } | null;
  /** What becomes of it, in a sentence. */
  readonly action: string;
  /** Status that weft itself would answer with before any service is asked; null: none. */
  readonly status: number | null;
  /** With `status` 405. */
  readonly allow?: readonly string[];
  readonly services: readonly { readonly service: string; readonly weight: number }[];
  /** The target that goes upstream. */
  readonly upstreamTarget: string | null;
}

type ExplainedTimeouts = Omit<Policy, "retry">;

export interface ExplainedRetry {
  readonly attempts: number;
  readonly on: readonly string[];
  readonly backoff: { readonly baseMs: number; readonly maxMs: number };
  readonly budget: { readonly percent: number; readonly floorPerS: number };
}

export interface ExplainEnv {
  readonly mode: "gateway" | "mesh";
  /** Live state of a service's endpoints; absent: the configuration's addresses alone. */
  readonly endpoints?: (service: string) => readonly {
    readonly address: string;
    readonly healthy: boolean;
    readonly state: string;
    readonly ejectedUntilMs: number | null;
  }[];
}

/** Answers from the configuration alone: nothing is set up and nothing is sent. A text says why the question has no answer. */
export async function explain(
  config: Config,
  question: Question,
  env: ExplainEnv,
): Promise<Explanation | string> {
  const asked = readQuestion(question);
  if (!asked.ok) return asked.refused ? refusedBy(asked.reason) : asked.reason;
  const { request } = asked;
  const mode: Mode = env.mode === "gateway" ? "gateway" : "mesh-outbound";
  const routes = routesFor(config, mode).map((route) => {
    const uses = mergeUses(config.plugins, route.plugins);
    return { route, uses, rule: toRule(route, uses, route) };
  });
  const match = compileRouter(routes.map(({ rule }) => rule)).match(request);
  const winner = match.kind === "route" ? match.value : null;
  const definitions = await loadDefinitions(config);
  const uses = routes.find(({ route }) => route === winner)?.uses ?? mergeUses(config.plugins, []);
  const common = {
    lost: explainLosers(routes, winner, request),
    plugins: namesInOrder(uses, definitions, mode),
    request: {
      method: request.method,
      host: request.host,
      path: request.path,
      query: request.query,
    },
  };
  if (match.kind !== "route") {
    const wrongMethod = match.kind === "method";
    return {
      ...nowhere,
      ...common,
      action: wrongMethod
        ? `answered 405: a route takes it with ${match.allow.join(", ")} only`
        : "answered 404: no route takes it",
      status: wrongMethod ? 405 : 404,
      ...(wrongMethod ? { allow: match.allow } : {}),
    };
  }
  return {
    ...nowhere,
    ...common,
    ...explainRoute(
      config,
      match.value,
      { mode, request, matchedPrefix: match.matchedPrefix },
      env,
    ),
  };
}

const nowhere = {
  route: null,
  lost: [],
  plugins: [],
  timeouts: null,
  retry: null,
  service: null,
  endpoints: [],
  services: [],
  request: null,
  upstreamTarget: null,
} satisfies Partial<Explanation>;

function refusedBy(reason: string): Explanation {
  return { ...nowhere, action: `answered 400: ${reason}`, status: 400 };
}

interface Matched {
  readonly mode: Mode;
  readonly request: AskedRequest;
  readonly matchedPrefix: string;
}

function explainRoute(config: Config, route: RouteConfig, matched: Matched, env: ExplainEnv) {
  const services = [...(route.to ?? [])].toSorted((a, b) => b.weight - a.weight);
  const service = services[0]?.service ?? null;
  const policy = effectivePolicy(policyFor(config, service, route.policy), matched.mode);
  const { retry: rule, ...timeouts } = policy;
  const change = { ...matched.request, matchedPrefix: matched.matchedPrefix };
  const { rewrite } = route;
  const rewritten =
    rewrite === null || (rewrite.path === null && rewrite.prefix === null)
      ? matched.request.target
      : changeTarget(rewrite, change);
  const upstream = route.to !== null || route.app !== null;
  return {
    route: route.name,
    timeouts: noLimits(timeouts),
    retry:
      service === null
        ? null
        : {
            attempts: rule.attempts,
            on: [...rule.on],
            backoff: { baseMs: rule.backoffBaseMs, maxMs: rule.backoffMaxMs },
            budget: { percent: rule.budgetPct, floorPerS: rule.budgetFloorPerS },
          },
    service,
    services,
    endpoints: services.flatMap((one) => endpointsOf(config, one.service, env)),
    upstreamTarget: upstream ? rewritten : null,
    ...actionOf(route, upstream && rewritten === null, change),
  };
}

function actionOf(
  route: RouteConfig,
  escapes: boolean,
  change: AskedRequest & { readonly matchedPrefix: string },
): { readonly action: string; readonly status: number | null } {
  if (escapes) return { action: "answered 400: its path would leave the rewrite", status: 400 };
  if (route.redirect !== null) {
    const location = redirectLocation(route.redirect, change);
    const { status } = route.redirect;
    return location === null
      ? { action: "answered 400: its path would leave the redirect", status: 400 }
      : { action: `answered ${status} with location ${location}`, status };
  }
  if (route.respond !== null) {
    const { status } = route.respond;
    return { action: `answered ${status} by weft itself`, status };
  }
  if (route.app !== null) return { action: `handed to the app ${route.app}`, status: null };
  const shares = (route.to ?? []).map(({ service, weight }) => `${service} (weight ${weight})`);
  const [only] = route.to ?? [];
  return {
    action: `sent to ${shares.length === 1 ? only!.service : shares.join(" or ")}`,
    status: null,
  };
}

function noLimits(timeouts: ExplainedTimeouts): NonNullable<Explanation["timeouts"]> {
  const orNull = (ms: number): number | null => (ms === 0 ? null : ms);
  return {
    timeoutMs: orNull(timeouts.timeoutMs),
    totalTimeoutMs: orNull(timeouts.totalTimeoutMs),
    attemptTimeoutMs: orNull(timeouts.attemptTimeoutMs),
    connectTimeoutMs: orNull(timeouts.connectTimeoutMs),
    idleTimeoutMs: orNull(timeouts.idleTimeoutMs),
  };
}

function endpointsOf(config: Config, service: string, env: ExplainEnv): ExplainedEndpoint[] {
  const live = env.endpoints?.(service) ?? [];
  return (config.services[service]?.endpoints ?? []).map(({ address }) => {
    const state = live.find((one) => one.address === address);
    if (state === undefined) return { service, address };
    const { healthy, ejectedUntilMs } = state;
    const until = ejectedUntilMs === null ? null : new Date(ejectedUntilMs).toISOString();
    return { service, address, healthy, state: state.state, ejectedUntil: until };
  });
}

/** The run order of the chain that would be compiled; the list's own order when that is impossible, which `check` reports. */
function namesInOrder(
  uses: readonly PluginUse[],
  definitions: Definitions,
  mode: Mode,
): readonly string[] {
  const instances: PluginInstance[] = [];
  for (const use of uses) {
    const definition = definitions.of(use);
    if (definition === null || !runsIn(definition, mode)) continue;
    instances.push({
      id: use.id ?? definition.name,
      name: definition.name,
      stage: (use.stage as Stage | null) ?? definition.stage,
      definition,
      hooks: {},
      onError: use.onError ?? definition.onError ?? "closed",
      timeoutMs: 0,
      when: use.when === null ? null : () => true,
      before: use.before,
      after: use.after,
      trip: new Trip(() => 0),
      watch: { untilTimed: 1, failed: () => {}, took: () => {} },
    });
  }
  const ordered = inOrder(instances, mode);
  return ordered.map(({ id }) => id);
}

function inOrder(instances: readonly PluginInstance[], mode: Mode): readonly PluginInstance[] {
  try {
    const every = new Set(instances.flatMap(({ before, after }) => [...before, ...after]));
    return compileChain(instances, mode, every)?.plugins ?? [];
  } catch {
    return instances;
  }
}
