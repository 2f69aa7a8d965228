/** A fixed rate over the mesh: each answer of web takes two calls through pairs of sidecars, and a denied call stays denied. */

import { ask, duration, p99Or, rateOr } from "./demo.js";

const rate = rateOr(100);

export const options = {
  scenarios: {
    steady: {
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
    http_req_duration: [`p(99)<${p99Or(400)}`],
    // VUs that were missing when a request was due: the load was not what it claims to be
    dropped_iterations: [`rate<${Math.max(5, rate / 50)}`],
  },
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
};

export default function () {
  if (Math.random() < 0.9) ask("/", [200], { contains: "payments" });
  else ask("/forbidden", [403], { contains: "forbidden" });
}
