/** How each endpoint is dialled: plain TCP, TLS as the service says, or mTLS with our mesh identity. */

import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Config, Problem, ServiceConfig } from "../config.ts";
import type { ServiceSpec } from "../../proxy/service/service.ts";
import {
  dialKey,
  upstreamTls,
  type DialIdentity,
  type DialTarget,
  type MeshDial,
  type TlsDial,
} from "../../proxy/upstream/connect.ts";
import { effectiveBalance, effectiveEjection, policyFor } from "./policy.ts";
import { reasonOf } from "./problems.ts";

export interface TargetEnv {
  readonly mode: "gateway" | "mesh";
  /** Ours; null: none. */
  readonly identity: DialIdentity | null;
}

/** What is live of the app behind a sidecar is kept under this key: a service of the same name may be called too. */
export const appKey = "@app";

/** True when the service is called with our mesh identity (CONTRACT section 11). */
export function usesMtls(service: ServiceConfig, mode: "gateway" | "mesh"): boolean {
  return service.mtls ?? (mode === "mesh" && service.tls === null);
}

/** Specifications of all services, the app of a sidecar included. */
export function serviceSpecs(config: Config, env: TargetEnv, problems: Problem[]): ServiceSpec[] {
  const specs = Object.entries(config.services).map(([name, service]): ServiceSpec => {
    const secure = secureDial(config, name, env, problems);
    return {
      ...sharedSpec(config, name),
      endpoints: service.endpoints.map(({ address, host, port, weight }) => ({
        address,
        weight,
        target: toTarget(host, port, secure, service.protocol),
      })),
      health: service.health,
      proxyProtocol: service.proxyProtocol,
    };
  });
  const { mesh } = config;
  if (env.mode === "mesh" && mesh !== null && mesh.app !== null) {
    const { host, port } = mesh.app;
    const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
    specs.push({
      ...sharedSpec(config, null),
      name: mesh.service,
      key: appKey,
      endpoints: [{ address, weight: 1, target: toTarget(host, port, null, "http1") }],
      health: null,
    });
  }
  return specs;
}

function sharedSpec(
  config: Config,
  name: string | null,
): Pick<ServiceSpec, "name" | "key" | "balance" | "ejection"> {
  const policy = policyFor(config, name, null);
  return {
    name: name ?? "",
    key: name ?? "",
    balance: effectiveBalance(policy),
    ejection: effectiveEjection(policy),
  };
}

interface Secure {
  readonly dial: TlsDial | MeshDial;
  /** What makes two connections differ besides the address: a new authority gets new connections. */
  readonly trust: string;
}

function secureDial(
  config: Config,
  name: string,
  env: TargetEnv,
  problems: Problem[],
): Secure | null {
  const service = config.services[name]!;
  if (usesMtls(service, env.mode)) {
    if (service.proxyProtocol !== null)
      problems.push({
        path: ["services", name, "proxyProtocol"],
        at: "value",
        message: `"${name}" is called through a sidecar, which knows the caller by its certificate`,
        expected: "mtls: false on the service, or no proxyProtocol",
      });
    if (env.identity === null || config.mesh === null) {
      problems.push({
        path: ["services", name],
        at: "key",
        message: `"${name}" is called by mTLS, and there is no identity to show`,
        expected: "mesh.identity with cert, key and bundle, or mtls: false on the service",
      });
      return null;
    }
    const expectedId = `spiffe://${config.mesh.trustDomain}/service/${name}`;
    return { dial: { kind: "mesh", identity: env.identity, expectedId }, trust: "" };
  }
  if (service.tls === null) return null;
  const { ca: file, serverName } = service.tls;
  try {
    const ca = file === null ? null : readFileSync(file);
    const trust = ca === null ? "" : hash("sha256", ca, "hex");
    return { dial: upstreamTls({ ca, serverName }), trust };
  } catch (error) {
    problems.push({
      path: ["services", name, "tls", "ca"],
      at: "value",
      message: `the authority ${file} cannot be used: ${reasonOf(error)}`,
      expected: "a PEM file with certificates",
    });
    return null;
  }
}

function toTarget(
  host: string,
  port: number,
  secure: Secure | null,
  protocol: ServiceConfig["protocol"],
): DialTarget {
  const parts = { host, port, tls: secure?.dial ?? null, protocol };
  return { ...parts, key: JSON.stringify([dialKey(parts), secure?.trust ?? ""]) };
}
