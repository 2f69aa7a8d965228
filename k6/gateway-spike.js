/** A crowd at once: five in a minute get through the limit, all others are told when to come back, and nobody sees a failure. */

import { check } from "k6";
import { Counter } from "k6/metrics";
import { ask, duration, p99Or, rateOr } from "./demo.js";

const peak = rateOr(600);
const passed = new Counter("limited_passed");

export const options = {
  scenarios: {
    spike: {
      executor: "ramping-arrival-rate",
      startRate: Math.ceil(peak / 20),
      timeUnit: "1s",
      stages: [
        { target: Math.ceil(peak / 20), duration: "2s" },
        { target: peak, duration: "1s" },
        { target: peak, duration },
        { target: Math.ceil(peak / 20), duration: "1s" },
        { target: Math.ceil(peak / 20), duration: "2s" },
      ],
      preAllocatedVUs: 100,
      maxVUs: 500,
    },
  },
  thresholds: {
    http_req_failed: ["rate==0"],
    checks: ["rate==1"],
    http_req_duration: [`p(99)<${p99Or(1000)}`],
    // the first five, then one each twelve seconds
    limited_passed: ["rate<1"],
  },
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
};

export default function () {
  if (Math.random() < 0.5) {
    ask("/orders", [200], { withKey: true, contains: "shuttle" });
    return;
  }
  const answer = ask("/limited", [200, 429]);
  if (answer.status === 200) passed.add(1);
  else {
    check(answer, {
      "429 says when to come back": ({ headers }) => Number(headers["Retry-After"]) > 0,
    });
  }
}
