/** A process for the admin API to show, without a process: an AdminSource over plain values, and a configuration with something of everything. */

import type {
  AdminSource,
  AppliedConfig,
  ApplyResult,
  EndpointState,
  LogLevel,
  Readiness,
} from "../../control/admin/source.ts";
import type { Config, PluginUse, RouteConfig } from "../../control/config.ts";

export function plugin(
  use: string,
  options: unknown = {},
  rest: Partial<PluginUse> = {},
): PluginUse {
  return {
    use,
    options,
    id: null,
    when: null,
    onError: null,
    stage: null,
    before: [],
    after: [],
    enabled: true,
    enforced: false,
    path: [],
    ...rest,
  };
}

export function route(name: string, rest: Partial<RouteConfig> = {}): RouteConfig {
  return {
    name,
    hosts: [],
    match: [],
    to: null,
    redirect: null,
    respond: null,
    app: null,
    rewrite: null,
    plugins: [],
    policy: null,
    ...rest,
  };
}

const prefix = (value: string) => ({
  path: { kind: "prefix", value } as const,
  methods: null,
  headers: {},
  query: {},
});
const endpoint = (address: string) => ({
  address,
  host: "127.0.0.1",
  port: Number(address.split(":")[1]),
  weight: 1,
});

/** Two services, five routes, secrets in every place where they can stand. */
export const sampleConfig: Config = {
  gateway: {
    listeners: [
      {
        name: "web",
        host: "127.0.0.1",
        port: 8080,
        tls: null,
        protocol: "http",
        to: null,
        sni: null,
        proxyProtocol: false,
        plugins: [],
      },
    ],
    trustedHops: 0,
    zone: null,
    limits: {
      connections: 10_000,
      headerBytes: 61_440,
      headerCount: 100,
      headerTimeoutMs: 10_000,
      idleTimeoutMs: 75_000,
    },
  },
  mesh: null,
  services: {
    orders: {
      endpoints: [endpoint("127.0.0.1:3001"), endpoint("127.0.0.1:3002")],
      tls: null,
      mtls: true,
      protocol: "http1",
      policy: null,
      proxyProtocol: null,
      health: null,
    },
    payments: {
      endpoints: [endpoint("127.0.0.1:3003")],
      tls: null,
      mtls: null,
      protocol: "http1",
      policy: null,
      proxyProtocol: null,
      health: null,
    },
  },
  routes: [
    route("orders", {
      hosts: ["api.example.com"],
      match: [
        {
          ...prefix("/orders"),
          methods: ["GET", "POST"],
          headers: { "x-canary": { kind: "exact", value: "1" } },
        },
      ],
      to: [
        { service: "orders", weight: 90 },
        { service: "payments", weight: 10 },
      ],
      plugins: [
        plugin("jwt", {
          issuer: "https://id.example.com/",
          cookie: "session",
          keys: [{ secret: "hmac-secret-1" }, { kty: "OKP", x: "public-x", d: "private-d" }],
        }),
        plugin("rate-limit", { limit: "100/min", by: "consumer" }),
      ],
    }),
    route("payments", {
      match: [prefix("/payments")],
      to: [{ service: "payments", weight: 1 }],
      plugins: [
        plugin("headers", { request: { set: { authorization: "Bearer upstream-token" } } }),
      ],
    }),
    route("old", {
      match: [prefix("/v1")],
      redirect: {
        scheme: null,
        host: null,
        port: null,
        path: "/orders",
        prefix: null,
        status: 308,
      },
    }),
    route("ping", {
      match: [{ ...prefix("/"), path: { kind: "exact", value: "/ping" } }],
      respond: { status: 200, body: "pong", headers: {} },
    }),
    route("bff", { match: [prefix("/home")], app: "/srv/apps/home.ts" }),
  ],
  plugins: [plugin("request-id")],
  policies: {},
  consumers: [
    {
      name: "acme",
      keys: ["sha256:5e884898da28047151d0e56f8dc62927"],
      plan: "gold",
      groups: ["partners"],
    },
  ],
  plans: { gold: { limit: { limit: 1000, windowMs: 60_000 } } },
  stores: { redis: "redis://app:redis-password@127.0.0.1:6379" },
  access: null,
  admin: { host: "127.0.0.1", port: 9901, token: "admin-token-1" },
  observe: { accessLog: null },
  drainTimeoutMs: 30_000,
  workers: 2,
  baseDir: "/srv",
};

/** Each of these stands in {@link sampleConfig} and must never be shown. */
export const sampleSecrets = [
  "hmac-secret-1",
  "private-d",
  "upstream-token",
  "5e884898da28",
  "redis-password",
  "admin-token-1",
];

/** A source whose state a test changes through its fields. */
export class SampleSource implements AdminSource {
  mode: "gateway" | "mesh" = "gateway";
  startedAtMs = Date.parse("2026-01-01T00:00:00Z");
  workers = 2;
  logLevel: LogLevel = "info";
  isLive = true;
  ready: Readiness = {
    ready: true,
    listeners: [
      { name: "web", address: "127.0.0.1:8080", plane: "edge", secure: false, open: true },
    ],
    snapshot: 1,
    draining: false,
    lastRejected: null,
  };
  applied: AppliedConfig | null = {
    version: 1,
    config: sampleConfig,
    appliedAtMs: this.startedAtMs,
    origin: "/srv/weft.yaml",
  };
  states: Readonly<Record<string, readonly EndpointState[]>> = {
    orders: [
      { address: "127.0.0.1:3001", healthy: true, state: "healthy", ejectedUntilMs: null },
      {
        address: "127.0.0.1:3002",
        healthy: false,
        state: "ejected",
        ejectedUntilMs: Date.parse("2026-01-01T00:01:00Z"),
      },
    ],
    payments: [
      { address: "127.0.0.1:3003", healthy: false, state: "unhealthy", ejectedUntilMs: null },
    ],
  };
  text = "";
  /** What the next reload or apply says; the version goes up when it is accepted. */
  nextProblems: readonly {
    path: string[];
    at: "key" | "value";
    message: string;
    suggestion?: string;
    file?: string;
    line?: number;
    column?: number;
  }[] = [];
  /** Texts that were given to apply, in order. */
  readonly sent: string[] = [];

  live(): boolean {
    return this.isLive;
  }
  readiness(): Readiness {
    return this.ready;
  }
  current(): AppliedConfig | null {
    return this.applied;
  }
  endpoints(service: string): readonly EndpointState[] {
    return this.states[service] ?? [];
  }
  metrics(): string {
    return this.text;
  }
  reload(): Promise<ApplyResult> {
    return this.#accept();
  }
  async apply(text: string): Promise<ApplyResult> {
    this.sent.push(text);
    return this.#accept();
  }
  async #accept(): Promise<ApplyResult> {
    if (this.nextProblems.length > 0 || this.applied === null)
      return { ok: false, problems: this.nextProblems };
    await new Promise((resolve) => setImmediate(resolve));
    this.applied = { ...this.applied, version: this.applied.version + 1 };
    return { ok: true, version: this.applied.version };
  }
  drain(): void {
    this.ready = { ...this.ready, ready: false, draining: true };
  }
  setLogLevel(level: LogLevel): void {
    this.logLevel = level;
  }
}
