/** The demo as the load scripts see it: where it is, its key, its paths, and what each answers. */

import http from "k6/http";
import { check } from "k6";

/** `-e BASE_URL=...` points elsewhere. */
export const baseUrl = __ENV.BASE_URL || "http://127.0.0.1:8080";
/** `-e DURATION=...`: how long the load is held. */
export const duration = __ENV.DURATION || "30s";
/** `-e RATE=...`: requests (of gateway-spike: of its peak) in a second. */
export const rateOr = (usual) => Number(__ENV.RATE || usual);
/** `-e P99_MS=...`: the longest 99th percentile that passes, in milliseconds. */
export const p99Or = (usual) => Number(__ENV.P99_MS || usual);

const key = { "x-api-key": "demo-key" };

/** Asks and checks; an answer that is not as expected fails the run. */
export function ask(path, expected, { withKey = false, contains = "" } = {}) {
  const answer = http.get(`${baseUrl}${path}`, {
    headers: withKey ? key : {},
    tags: { name: path },
    responseCallback: http.expectedStatuses(...expected),
    timeout: "10s",
  });
  check(answer, {
    [`${path} answers ${expected.join(" or ")}`]: ({ status }) => expected.includes(status),
    [`${path} is the right answer`]: ({ body }) => (body || "").includes(contains),
  });
  return answer;
}
