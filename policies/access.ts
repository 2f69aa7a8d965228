/**
 * Who may call whom: first deny, then allow, then the default. Paths and methods as in CONTRACT sections 2 and 11.
 * CONNECT is allowed by rules that list it and by nothing else: what is said in a tunnel has neither method nor path.
 */

export interface AccessRequest {
  /** SPIFFE URI of the verified caller; null: none. */
  readonly peerId: string | null;
  /** Service the call is for. */
  readonly to: string;
  readonly method: string;
  /** Normalised. */
  readonly path: string;
}

export interface AccessDecision {
  readonly allowed: boolean;
  /** Name of the rule that decided: `access.rules[2]` or `access.default`. */
  readonly rule: string;
  /** Shadow rules that matched: counted and logged, never enforced. */
  readonly shadow: readonly string[];
}

export interface AccessRules {
  decide(request: AccessRequest): AccessDecision;
}

/** A rule as configured. */
export interface AccessRule {
  /** A service name; `*`: every service. */
  readonly to: string;
  /** Service names of the trust domain, whole SPIFFE URIs, URIs that end in `/*`, or `*` for any verified caller. */
  readonly from: readonly string[];
  /** Null: every method. */
  readonly methods: readonly string[] | null;
  /** Null: every path. Else exact, or with `*` at the end: `/orders/*` is what begins with `/orders/`. */
  readonly paths: readonly string[] | null;
  readonly action: "allow" | "deny" | "shadow";
}

export interface AccessOptions {
  readonly rules: readonly AccessRule[];
  readonly default: "deny" | "allow";
  readonly trustDomain: string;
}

interface CompiledRule {
  readonly action: AccessRule["action"];
  readonly name: string;
  readonly from: ReadonlySet<string>;
  readonly fromPrefixes: readonly string[];
  readonly anyone: boolean;
  readonly methods: ReadonlySet<string> | null;
  readonly paths: ReadonlySet<string> | null;
  readonly pathPrefixes: readonly string[];
  /** The answer when this rule decides and no shadow rule matched. */
  readonly decision: AccessDecision;
}

const none: readonly string[] = [];

/** `web` of the trust domain `weft.local` is `spiffe://weft.local/service/web`; a URI stays as it is. */
export function toPeerId(from: string, trustDomain: string): string {
  return from.startsWith("spiffe://") ? from : `spiffe://${trustDomain}/service/${from}`;
}

/** Null when a path pattern says what its author means; else what is wrong with it. */
export function pathPatternProblem(pattern: string): string | null {
  if (pattern === "*") return null;
  if (!pattern.startsWith("/")) return 'a path begins with "/"';
  const star = pattern.indexOf("*");
  return star === -1 || star === pattern.length - 1
    ? null
    : '"*" may stand at the end of a path only';
}

/** Compiles rules once, so that a decision looks only at those for its service, and allocates only for shadow rules. */
export function compileAccess(options: AccessOptions): AccessRules {
  const rules = options.rules.map((rule, index) => compileRule(rule, index, options.trustDomain));
  const byService = new Map<string, CompiledRule[]>();
  const everywhere = rules.filter((_, i) => options.rules[i]!.to === "*");
  for (const { to } of options.rules) {
    byService.set(
      to,
      rules.filter((_, i) => options.rules[i]!.to === to || options.rules[i]!.to === "*"),
    );
  }
  const otherwise: AccessDecision = {
    allowed: options.default === "allow",
    rule: "access.default",
    shadow: none,
  };
  const noTunnel: AccessDecision = { ...otherwise, allowed: false };
  return {
    decide(request) {
      const isTunnel = request.method === "CONNECT";
      const base = isTunnel ? noTunnel : otherwise;
      let decision = base;
      let denied = false;
      let shadow: string[] | null = null;
      for (const rule of byService.get(request.to) ?? everywhere) {
        if (rule.action === "allow" && decision !== base) continue;
        if (rule.action === "allow" && isTunnel && rule.methods === null) continue;
        if (rule.action === "deny" && denied) continue;
        if (!matches(rule, request)) continue;
        if (rule.action === "shadow") (shadow ??= []).push(rule.name);
        else decision = rule.decision;
        denied ||= rule.action === "deny";
      }
      return shadow === null
        ? decision
        : { allowed: decision.allowed, rule: decision.rule, shadow };
    },
  };
}

function compileRule(rule: AccessRule, index: number, trustDomain: string): CompiledRule {
  const name = `access.rules[${index}]`;
  const ids = rule.from.filter((from) => from !== "*").map((from) => toPeerId(from, trustDomain));
  return {
    action: rule.action,
    name,
    anyone: rule.from.includes("*"),
    from: new Set(ids.filter((id) => !id.endsWith("/*"))),
    fromPrefixes: ids.filter((id) => id.endsWith("/*")).map((id) => id.slice(0, -1)),
    methods:
      rule.methods === null ? null : new Set(rule.methods.map((method) => method.toUpperCase())),
    paths: rule.paths === null ? null : new Set(rule.paths.filter((path) => !path.endsWith("*"))),
    pathPrefixes: (rule.paths ?? [])
      .filter((path) => path.endsWith("*"))
      .map((path) => path.slice(0, -1)),
    decision: { allowed: rule.action === "allow", rule: name, shadow: none },
  };
}

function matches(rule: CompiledRule, { peerId, method, path }: AccessRequest): boolean {
  if (peerId === null) return false;
  if (!rule.anyone && !rule.from.has(peerId) && !startsWithAny(peerId, rule.fromPrefixes))
    return false;
  if (rule.methods !== null && !rule.methods.has(method)) return false;
  return rule.paths === null || rule.paths.has(path) || startsWithAny(path, rule.pathPrefixes);
}

function startsWithAny(text: string, prefixes: readonly string[]): boolean {
  for (const prefix of prefixes) if (text.startsWith(prefix)) return true;
  return false;
}
