/** A fixed rate through the gateway, mostly with a key: nothing fails, and the slow ones are not slow. */

import { ask, duration, p99Or, rateOr } from "./demo.js";

const rate = rateOr(200);

export const options = {
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
    http_req_duration: [`p(99)<${p99Or(250)}`],
    // VUs that were missing when a request was due: the load was not what it claims to be
    dropped_iterations: [`rate<${Math.max(5, rate / 50)}`],
  },
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
};

export default function () {
  const dice = Math.random();
  if (dice < 0.6) ask("/orders", [200], { withKey: true, contains: "shuttle" });
  else if (dice < 0.9) ask("/payments", [200], { withKey: true, contains: "paid" });
  else if (dice < 0.95) ask("/orders", [401]);
  else ask("/admin", [403], { withKey: true });
}
