/** Who may call whom: first deny, then allow, then the default. Paths and methods as in CONTRACT sections 2 and 11. */

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
