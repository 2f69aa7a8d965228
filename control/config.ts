/** The configuration after validation: defaults filled in, units turned into numbers, names still names. Plain data, safe to post to a worker. */

import type { Quota } from "../plugins/quota-period.ts";

/** Where a value stands in the file, e.g. `['routes', 0, 'plugins', 1, 'jwt']`. */
export type ConfigPath = readonly (string | number)[];

/** Something wrong in a configuration. The loader turns `path` into file:line:column. */
export interface Problem {
  readonly path: ConfigPath;
  /** Points at the key (unknown keys) or at the value (everything else). */
  readonly at: "key" | "value";
  /** What is wrong, as a plain sentence without the place. */
  readonly message: string;
  /** What would have been right. */
  readonly expected?: string;
  /** The likely intention: `did you mean "routes"?` */
  readonly suggestion?: string;
}

/** A rate: `limit` per `windowMs`. */
export interface Rate {
  readonly limit: number;
  readonly windowMs: number;
}

export interface Config {
  readonly gateway: GatewayConfig | null;
  readonly mesh: MeshConfig | null;
  readonly services: Readonly<Record<string, ServiceConfig>>;
  readonly routes: readonly RouteConfig[];
  /** On every route, before its own. */
  readonly plugins: readonly PluginUse[];
  /** Named policies, as written (partial); `default` is merged under all others. */
  readonly policies: Readonly<Record<string, PolicyConfig>>;
  readonly consumers: readonly ConsumerConfig[];
  readonly plans: Readonly<Record<string, PlanConfig>>;
  /** A URL, or those of a cluster's nodes. */
  readonly stores: { readonly redis: string | readonly string[] | null };
  readonly access: AccessConfig | null;
  readonly admin: {
    readonly host: string;
    readonly port: number;
    readonly token: string | null;
    /** False: the file says nothing about it, and the address is the default one. */
    readonly explicit?: boolean;
  };
  readonly observe: { readonly accessLog: AccessLogConfig | null };
  readonly drainTimeoutMs: number;
  /** Worker threads; 'auto' is one per core. */
  readonly workers: number | "auto";
  /** Folder of the configuration file, absolute: relative paths in it start here. */
  readonly baseDir: string;
}

export interface PlanConfig {
  readonly limit: Rate;
  readonly quota?: Quota | undefined;
}

export interface GatewayConfig {
  readonly listeners: readonly ListenerConfig[];
  readonly trustedHops: number;
  readonly zone: string | null;
  readonly limits: LimitsConfig;
}

export interface ListenerConfig {
  readonly name: string;
  /** Undefined in the file means every address (`::`, falling back to `0.0.0.0`). */
  readonly host: string | null;
  readonly port: number;
  readonly tls: ListenerTlsConfig | null;
  /** `http`; `tcp` to one service; `tls`: passed through unopened, to the service of its server name; `auto`: by the first bytes. */
  readonly protocol: "http" | "tcp" | "tls" | "auto";
  /** Of `tcp`, and of `auto` for what is neither HTTP nor named in `sni`. */
  readonly to: string | null;
  /** Of `tls` and `auto`: exact name or `*.suffix`, lower case, to service. */
  readonly sni: Readonly<Record<string, string>> | null;
  /** PROXY protocol v1/v2 is required on each connection (default false). */
  readonly proxyProtocol: boolean;
  /** Of all but `http`: plugins for connections. */
  readonly plugins: readonly PluginUse[];
}

export interface ListenerTlsConfig {
  /** Absolute paths. */
  readonly certificates: readonly { readonly cert: string; readonly key: string }[];
  readonly clientAuth: { readonly ca: string; readonly mode: "require" | "optional" } | null;
}

export interface LimitsConfig {
  readonly connections: number;
  readonly headerBytes: number;
  readonly headerCount: number;
  readonly headerTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

export interface ServiceConfig {
  readonly endpoints: readonly EndpointConfig[];
  readonly tls: { readonly ca: string | null; readonly serverName: string | null } | null;
  /** Speak mTLS to it with our mesh identity. Default: true in mesh mode, false in gateway mode. */
  readonly mtls: boolean | null;
  /** Spoken to the endpoints; `auto` asks by ALPN, or tries. */
  readonly protocol: "http1" | "http2" | "auto" | "tcp";
  readonly policy: string | PolicyConfig | null;
  readonly health: HealthConfig | null;
  /** Connections to it begin with a PROXY header of this version. Of `tcp` services. */
  readonly proxyProtocol: "v1" | "v2" | null;
}

export interface EndpointConfig {
  /** As written: `host:port`, `[v6]:port`. The value of the metric label `endpoint`. */
  readonly address: string;
  readonly host: string;
  readonly port: number;
  readonly weight: number;
}

export interface HealthConfig {
  readonly path: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly healthy: number;
  readonly unhealthy: number;
}

export interface RouteConfig {
  readonly name: string;
  readonly hosts: readonly string[];
  /** Any of them; an empty list matches everything. */
  readonly match: readonly MatchConfig[];
  readonly to: readonly { readonly service: string; readonly weight: number }[] | null;
  readonly redirect: RedirectConfig | null;
  readonly respond: RespondConfig | null;
  /** Absolute path of a module whose default export has `fetch`. */
  readonly app: string | null;
  readonly rewrite: RewriteConfig | null;
  readonly plugins: readonly PluginUse[];
  readonly policy: string | PolicyConfig | null;
}

export interface MatchConfig {
  readonly path: PathMatch | null;
  readonly methods: readonly string[] | null;
  readonly headers: Readonly<Record<string, ValueMatch>>;
  readonly query: Readonly<Record<string, ValueMatch>>;
}

export type PathMatch = {
  readonly kind: "prefix" | "exact" | "regex" | "template";
  readonly value: string;
};

export type ValueMatch =
  | { readonly kind: "exact" | "regex"; readonly value: string }
  | { readonly kind: "present"; readonly value: boolean };

/** `prefix` replaces the matched part of the path, `path` the whole; the query is kept. */
export interface RewriteConfig {
  readonly prefix: string | null;
  readonly path: string | null;
  readonly host: string | null;
}

export interface RedirectConfig {
  readonly scheme: "http" | "https" | null;
  readonly host: string | null;
  readonly port: number | null;
  readonly path: string | null;
  readonly prefix: string | null;
  /** Default 302. */
  readonly status: number;
}

export interface RespondConfig {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** One use of a plugin in a list. */
export interface PluginUse {
  /** A built-in's name, or a local file (absolute), or an npm package. */
  readonly use: string;
  readonly options: unknown;
  /** Default: the plugin's name. The same `use` with another id is a second instance. */
  readonly id: string | null;
  readonly when: string | null;
  readonly onError: "open" | "closed" | null;
  readonly stage: string | null;
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly enabled: boolean;
  /** Only on the global list: a route cannot remove or replace it. */
  readonly enforced: boolean;
  /** Where it stands in the file. */
  readonly path: ConfigPath;
  /** Where its options stand, for problems in them: `path`, and the key that names the plugin as it was written. */
  readonly optionsPath?: ConfigPath;
}

/** A policy as written: only the keys that were given. Merged default <- service <- route. */
export interface PolicyConfig {
  readonly timeoutMs?: number;
  readonly totalTimeoutMs?: number;
  readonly attemptTimeoutMs?: number;
  readonly connectTimeoutMs?: number;
  readonly idleTimeoutMs?: number;
  readonly retry?: {
    readonly attempts?: number;
    readonly on?: readonly string[];
    readonly backoff?: { readonly baseMs?: number; readonly maxMs?: number };
    readonly budget?: { readonly percent?: number; readonly floor?: Rate };
  };
  readonly balance?: "ewma" | "round-robin";
  readonly ejection?: {
    readonly consecutive?: number;
    readonly baseMs?: number;
    readonly maxMs?: number;
    readonly maxEjectedPct?: number;
  };
}

export interface ConsumerConfig {
  readonly name: string;
  /** Hashes (`sha256:<hex>`, `$scrypt$...`, `$argon2id$...`), public keys (PEM), `hmac:<secret>`. */
  readonly keys: readonly string[];
  readonly plan: string | null;
  readonly groups: readonly string[];
}

export interface AccessConfig {
  /** Null: not given; deny in a mesh, allow in a gateway. */
  readonly default: "deny" | "allow" | null;
  readonly rules: readonly AccessRuleConfig[];
}

export interface AccessRuleConfig {
  readonly to: string;
  readonly from: readonly string[];
  readonly methods: readonly string[] | null;
  readonly paths: readonly string[] | null;
  readonly action: "allow" | "deny" | "shadow";
}

export interface AccessLogConfig {
  readonly format: "json" | "text";
  /** CEL; null: always. */
  readonly when: string | null;
  /** 0 to 1. */
  readonly sample: number;
}

export interface MeshConfig {
  readonly service: string;
  readonly app: { readonly host: string; readonly port: number } | null;
  readonly outbound: { readonly host: string; readonly port: number } | null;
  readonly inbound: { readonly host: string; readonly port: number } | null;
  readonly advertise: string | null;
  readonly trustDomain: string;
  readonly mtls: "strict" | "permissive";
  /** Absolute paths. */
  readonly identity: {
    readonly cert: string;
    readonly key: string;
    readonly bundle: string;
  } | null;
}
