/** Trace context of callers that speak B3, as W3C Trace Context: so that a trace goes on across the two. */

import type { Fields } from "./fields.ts";

const traceId = /^(?:[0-9a-f]{16}|[0-9a-f]{32})$/i;
const spanId = /^[0-9a-f]{16}$/i;

/**
 * `traceparent` for a request with `b3`, or with `x-b3-traceid` and `x-b3-spanid` (openzipkin/b3-propagation).
 * Ids of 64 bits are padded to the left. A decision that was not made is passed on as "not sampled".
 * @returns null when there is no valid context
 */
export function traceparentFromB3(fields: Fields): string | null {
  const single = fields.get("b3");
  if (single !== undefined) {
    const [trace = "", span = "", sampled = ""] = single.split("-");
    return join(trace, span, sampled === "1" || sampled === "d");
  }
  const sampled = fields.get("x-b3-sampled");
  return join(
    fields.get("x-b3-traceid") ?? "",
    fields.get("x-b3-spanid") ?? "",
    sampled === "1" || sampled === "true" || fields.get("x-b3-flags") === "1",
  );
}

function join(trace: string, span: string, sampled: boolean): string | null {
  if (!traceId.test(trace) || !spanId.test(span)) return null;
  const id = trace.toLowerCase().padStart(32, "0");
  // all zeros is "no trace" (W3C Trace Context section 3.2.2.3)
  if (/^0+$/.test(id) || /^0+$/.test(span)) return null;
  return `00-${id}-${span.toLowerCase()}-${sampled ? "01" : "00"}`;
}
