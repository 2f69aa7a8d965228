/** What the demo starts: ports, configurations and environments of the gateway, the sidecars and the services. */

import { fileURLToPath } from "node:url";
import type { ProcessSpec } from "./demo-process.ts";

/** One service instance with its sidecar. */
interface Placed {
  readonly instance: string;
  readonly service: string;
  readonly app: number;
  readonly inbound: number;
  readonly outbound: number;
  readonly admin: number;
}

export interface DemoPlan {
  readonly gateway: ProcessSpec;
  /** `web`, `orders-1`, `orders-2`, `payments`: the sidecar and the app of each. */
  readonly instances: readonly { readonly name: string; readonly specs: readonly ProcessSpec[] }[];
  readonly chaosPort: number;
}

/** Everything that runs behind the gateway. */
const workloads: readonly { readonly instance: string; readonly service: string }[] = [
  { instance: "web", service: "web" },
  { instance: "orders-1", service: "orders" },
  { instance: "orders-2", service: "orders" },
  { instance: "payments", service: "payments" },
];

/** Services that need a certificate. */
export const demoIdentities: readonly string[] = [
  "gateway",
  ...new Set(workloads.map(({ service }) => service)),
];

/** How many free ports {@link planDemo} wants. */
export const demoPortCount = workloads.length * 4 + 1;

/** Where the demo listens for the user, and where its certificates are. */
export interface DemoPlace {
  readonly port: number;
  readonly adminPort: number;
  /** Folder of the certificates. */
  readonly certificates: string;
  /** For every process. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Lays everything out; `ports` are {@link demoPortCount} free ones. */
export function planDemo(place: DemoPlace, ports: readonly number[]): DemoPlan {
  const next = ports.values();
  const take = () => next.next().value!;
  const chaosPort = take();
  const placed: Placed[] = workloads.map((workload) => ({
    ...workload,
    app: take(),
    inbound: take(),
    outbound: take(),
    admin: take(),
  }));
  const shared: Record<string, string> = { ...place.environment, DEMO_CERTS: place.certificates };
  for (const one of placed) shared[inboundName(one.instance)] = local(one.inbound);
  return {
    chaosPort,
    gateway: {
      name: "gateway",
      argv: [weft, "gateway", "-c", example("gateway.yaml")],
      env: {
        ...shared,
        DEMO_PORT: String(place.port),
        DEMO_ADMIN: local(place.adminPort),
        DEMO_CHAOS: local(chaosPort),
      },
      readyUrl: `http://${local(place.adminPort)}/readyz`,
    },
    instances: placed.map((one) => ({
      name: one.instance,
      specs: [sidecar(one, shared), app(one, shared)],
    })),
  };
}

function sidecar(one: Placed, shared: Readonly<Record<string, string>>): ProcessSpec {
  const addresses = {
    APP: one.app,
    INBOUND: one.inbound,
    OUTBOUND: one.outbound,
    ADMIN: one.admin,
  };
  const entries = Object.entries(addresses).map(([name, port]) => [name, local(port)] as const);
  return {
    name: `sidecar of ${one.instance}`,
    argv: [weft, "mesh", "-c", example(`${one.service}.yaml`)],
    env: { ...shared, ...Object.fromEntries(entries) },
    readyUrl: `http://${local(one.admin)}/readyz`,
  };
}

function app(one: Placed, shared: Readonly<Record<string, string>>): ProcessSpec {
  return {
    name: one.instance,
    argv: [example(`${one.service}${ending}`)],
    env: { ...shared, PORT: String(one.app), INSTANCE: one.instance, SIDECAR: local(one.outbound) },
    readyUrl: `http://${local(one.app)}/healthz`,
  };
}

/** Sources run as they are; the published package holds JavaScript. */
const ending = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
const weft = fileURLToPath(new URL(`weft${ending}`, import.meta.url));
const example = (file: string): string =>
  fileURLToPath(new URL(`../examples/demo/${file}`, import.meta.url));
const local = (port: number): string => `127.0.0.1:${port}`;
const inboundName = (instance: string): string =>
  `${instance.toUpperCase().replaceAll("-", "_")}_INBOUND`;
