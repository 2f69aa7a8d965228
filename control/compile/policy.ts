/** Merges policies, nearest last, and fills in what nobody set: default <- service <- route. */

import type { Config, PolicyConfig } from "../config.ts";
import { defaultEjection, type EjectionPolicy } from "../../policies/ejection.ts";
import type { Mode } from "../../proxy/pipeline/plugin.ts";
import type { Policy } from "../../proxy/snapshot.ts";

/** Conditions that are retried unless a policy says otherwise (CONTRACT section 2). 500 is not among them. */
const retryOn = [
  "connect-failure",
  "reset-before-response",
  "refused-stream",
  "502",
  "503",
  "504",
] as const;

interface ModeDefaults {
  readonly retryAttempts: number;
  readonly retryOn: readonly string[];
}

/** CONTRACT section 8: edge 1, mesh 2. A callee's sidecar only makes good what its own kept connection to the app lost. */
const byMode: Readonly<Record<Mode, ModeDefaults>> = {
  gateway: { retryAttempts: 1, retryOn },
  "mesh-outbound": { retryAttempts: 2, retryOn },
  "mesh-inbound": { retryAttempts: 1, retryOn: ["connect-failure", "reset-before-response"] },
};

/** Milliseconds; 0: none. */
const defaults = {
  timeoutMs: 15_000,
  totalTimeoutMs: 0,
  attemptTimeoutMs: 0,
  connectTimeoutMs: 5_000,
  idleTimeoutMs: 300_000,
} as const;

/** Later ones win, key by key; `retry.on` and `budget.floor` are replaced as a whole. */
export function mergePolicies(...layers: readonly (PolicyConfig | null)[]): PolicyConfig {
  let merged: PolicyConfig = {};
  for (const layer of layers) {
    if (layer === null) continue;
    const { retry, ejection } = layer;
    merged = {
      ...merged,
      ...layer,
      ...(retry !== undefined && {
        retry: {
          ...merged.retry,
          ...retry,
          backoff: { ...merged.retry?.backoff, ...retry.backoff },
          budget: { ...merged.retry?.budget, ...retry.budget },
        },
      }),
      ...(ejection !== undefined && { ejection: { ...merged.ejection, ...ejection } }),
    };
  }
  return merged;
}

/** A policy by name, or as it stands inline. An unknown name is null here; {@link import('./references.ts')} reports it. */
export function policyOf(
  config: Config,
  policy: string | PolicyConfig | null,
): PolicyConfig | null {
  return typeof policy === "string" ? (config.policies[policy] ?? null) : policy;
}

/** The layers that reach a service, or (with `service` null) a route without one. */
export function policyFor(
  config: Config,
  service: string | null,
  route: string | PolicyConfig | null,
): PolicyConfig {
  const ofService = service === null ? null : (config.services[service]?.policy ?? null);
  return mergePolicies(
    config.policies["default"] ?? null,
    policyOf(config, ofService),
    policyOf(config, route),
  );
}

/** What an exchange goes by: the merged policy with every default filled in. */
export function effectivePolicy(policy: PolicyConfig, mode: Mode): Policy {
  const { retry } = policy;
  return {
    timeoutMs: policy.timeoutMs ?? defaults.timeoutMs,
    totalTimeoutMs: policy.totalTimeoutMs ?? defaults.totalTimeoutMs,
    attemptTimeoutMs: policy.attemptTimeoutMs ?? defaults.attemptTimeoutMs,
    connectTimeoutMs: policy.connectTimeoutMs ?? defaults.connectTimeoutMs,
    idleTimeoutMs: policy.idleTimeoutMs ?? defaults.idleTimeoutMs,
    retry: {
      attempts: retry?.attempts ?? byMode[mode].retryAttempts,
      on: new Set(retry?.on ?? byMode[mode].retryOn),
      backoffBaseMs: retry?.backoff?.baseMs ?? 25,
      backoffMaxMs: retry?.backoff?.maxMs ?? 250,
      budgetPct: retry?.budget?.percent ?? 20,
      budgetFloorPerS: perSecond(retry?.budget?.floor) ?? 10,
    },
  };
}

/** When an endpoint of the service is left alone, and for how long. */
export function effectiveEjection(policy: PolicyConfig): EjectionPolicy {
  return { ...defaultEjection, ...policy.ejection };
}

/** The mode a balancer falls back to: peak EWMA (CONTRACT section 8). */
export function effectiveBalance(policy: PolicyConfig): "ewma" | "round-robin" {
  return policy.balance ?? "ewma";
}

function perSecond(
  rate: { readonly limit: number; readonly windowMs: number } | undefined,
): number | undefined {
  return rate === undefined ? undefined : (rate.limit * 1_000) / rate.windowMs;
}
