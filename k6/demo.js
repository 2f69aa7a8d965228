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

/** A fixed rate, all of it answered as expected, and the 99th percentile below `p99Ms`. */
export function steadyLoad(usualRate, p99Ms) {
  const rate = rateOr(usualRate);
  return {
    scenarios: {
      steady: {
        // open: a slow answer does not slow the questions down
        executor: "constant-arrival-rate",
        rate,
        timeUnit: "1s",
        duration,
        preAllocatedVUs: 50,
        maxVUs: 200,
      },
    },
    thresholds: {
      http_req_failed: ["rate==0"],
      checks: ["rate==1"],
      http_req_duration: [`p(99)<${p99Or(p99Ms)}`],
      // VUs that were missing when a request was due: the load was not what it claims to be
      dropped_iterations: [`rate<${Math.max(5, rate / 50)}`],
    },
    summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
  };
}

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
