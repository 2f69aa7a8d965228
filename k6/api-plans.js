/** An API with plans: a paying caller is served through the bursts of a free one and through a crowd with bad keys and tokens. */

import { check } from "k6";
import crypto from "k6/crypto";
import encoding from "k6/encoding";
import http from "k6/http";
import { Counter } from "k6/metrics";
import { baseUrl, duration, p99Or, rateOr } from "./demo.js";

// all of api-plans.yaml
const secret = "only-for-the-load-script-of-this-folder";
const issuer = "https://issuer.example";
const freePerSecond = 5;

const rate = rateOr(100);
/** Requests of one burst, at once. */
const burst = 20;
const units = { ms: 0.001, s: 1, m: 60, h: 3600 };
const seconds = [...duration.matchAll(/([\d.]+)(ms|s|m|h)/g)].reduce(
  (sum, [, count, unit]) => sum + Number(count) * units[unit],
  0,
);
const burstPassed = new Counter("burst_passed");
const burstRefused = new Counter("burst_refused");

const open = { executor: "constant-arrival-rate", timeUnit: "1s", duration, maxVUs: 200 };

export const options = {
  scenarios: {
    paying: { ...open, exec: "paying", rate, preAllocatedVUs: 50 },
    bursts: { ...open, exec: "freeBurst", rate: 1, preAllocatedVUs: 5 },
    strangers: { ...open, exec: "stranger", rate, preAllocatedVUs: 50 },
  },
  batch: burst,
  batchPerHost: burst,
  thresholds: {
    http_req_failed: ["rate==0"],
    checks: ["rate==1"],
    "http_req_duration{scenario:paying}": [`p(99)<${p99Or(250)}`],
    // the plan: a burst of five, then five a second, also for what is still under way at the end
    burst_passed: ["count>0", `count<=${freePerSecond * (seconds + 2) + freePerSecond}`],
    burst_refused: ["count>0"],
    dropped_iterations: [`rate<${Math.max(5, rate / 50)}`],
  },
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
};

const base64 = (value) => encoding.b64encode(JSON.stringify(value), "rawurl");

function sign(claims, { alg = "HS256", key = secret } = {}) {
  const text = `${base64({ alg, typ: "JWT" })}.${base64(claims)}`;
  return alg === "none"
    ? `${text}.`
    : `${text}.${crypto.hmac("sha256", key, text, "base64rawurl")}`;
}

const now = () => Math.floor(Date.now() / 1000);
const good = (over = {}) => ({ iss: issuer, aud: "api", sub: "pia", exp: now() + 600, ...over });
const bearer = (token) => ({ authorization: `Bearer ${token}` });
const settings = (headers, name, expected) => ({
  headers,
  tags: { name },
  responseCallback: http.expectedStatuses(...expected),
  timeout: "10s",
});

/** One token for all of a VU's requests, and one for each tenth of them: known ones and new ones. */
let token = "";

export function paying() {
  if (token === "" || Math.random() < 0.1) token = sign(good({ jti: String(Math.random()) }));
  const [path, headers] =
    Math.random() < 0.5 ? ["/keys", { "x-api-key": "pro-key" }] : ["/tokens", bearer(token)];
  const answer = http.get(`${baseUrl}${path}`, settings(headers, `paying ${path}`, [200]));
  check(answer, {
    "a paying caller is served": ({ status }) => status === 200,
    "and told of its plan": ({ headers: fields }) =>
      (fields["Ratelimit-Policy"] || "").includes("q=1000;w=1"),
  });
}

export function freeBurst() {
  const one = [
    "GET",
    `${baseUrl}/keys`,
    null,
    settings({ "x-api-key": "free-key" }, "burst", [200, 429]),
  ];
  const answers = http.batch(Array.from({ length: burst }, () => one));
  const refused = answers.filter(({ status }) => status === 429);
  const passed = answers.filter(({ status }) => status === 200);
  burstPassed.add(passed.length);
  burstRefused.add(refused.length);
  check(answers, {
    "each of a burst passes or is refused": () => passed.length + refused.length === burst,
    "who is refused is told when to come back": () =>
      refused.every(({ headers }) => Number(headers["Retry-After"]) > 0),
    "and by which policy": () =>
      refused.every(({ body }) => JSON.parse(body)["violated-policies"].length === 1),
  });
}

const noKey = () => ({});
/** Each of them is nobody: 401, whatever it tries. */
const strangers = [
  ["/keys", noKey],
  ["/keys", () => ({ "x-api-key": `guess-${Math.random()}` })],
  ["/keys", () => ({ "x-api-key": "x".repeat(5000) })],
  ["/tokens", noKey],
  ["/tokens", () => bearer("not a token")],
  ["/tokens", () => bearer(`${Math.random()}.${Math.random()}.${Math.random()}`)],
  ["/tokens", () => bearer(sign(good(), { alg: "none" }))],
  ["/tokens", () => bearer(sign(good({ jti: String(Math.random()) }), { key: "guessed" }))],
  ["/tokens", () => bearer(sign(good({ exp: now() - 3600 })))],
  ["/tokens", () => bearer(sign(good({ iss: "https://elsewhere.example" })))],
  ["/tokens", () => bearer(sign(good({ aud: "another" })))],
  ["/tokens", () => bearer(`${sign(good())}x`)],
  ["/tokens", () => bearer("x".repeat(20000))],
];

export function stranger() {
  const [path, headers] = strangers[Math.floor(Math.random() * strangers.length)];
  const answer = http.get(`${baseUrl}${path}`, settings(headers(), `strangers ${path}`, [401]));
  check(answer, {
    "a stranger is refused": ({ status }) => status === 401,
    "and told how to be known": ({ headers: fields }) => fields["Www-Authenticate"] !== undefined,
  });
}
