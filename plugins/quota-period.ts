/** Quotas such as `10000/day`: how they are written, and where their days and months begin and end. */

/** So many units in each day or calendar month, UTC. */
export interface Quota {
  readonly limit: number;
  readonly per: "day" | "month";
}

const dayMs = 86_400_000;

/** Null when it is no quota, or 0. */
export function parseQuota(text: string): Quota | null {
  const parts = /^(\d{1,15})\s*\/\s*(day|month)$/.exec(text);
  const limit = Number(parts?.[1] ?? 0);
  return parts === null || limit === 0 ? null : { limit, per: parts[2] as Quota["per"] };
}

/** How long a count is kept: a little longer than its period, which its key names. Milliseconds. */
export function keptMs(per: Quota["per"]): number {
  return per === "day" ? 2 * dayMs : 32 * dayMs;
}

/** The period whose counts are kept so long. */
export function perOf(windowMs: number): Quota["per"] {
  return windowMs === keptMs("day") ? "day" : "month";
}

/** The day or month, and the time left of it. */
export function periodOf(
  per: Quota["per"],
  wallMs: number,
): { readonly name: string; readonly endsInMs: number } {
  const at = new Date(wallMs);
  const text = at.toISOString();
  const end =
    per === "day"
      ? Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate() + 1)
      : Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1);
  return {
    name: text.slice(0, per === "day" ? 10 : 7),
    endsInMs: Math.max(1, Math.ceil(end - wallMs)),
  };
}

/** Milliseconds of the whole day or month. */
export function periodLengthMs(per: Quota["per"], wallMs: number): number {
  if (per === "day") return dayMs;
  const at = new Date(wallMs);
  const start = Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), 1);
  return Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1) - start;
}
