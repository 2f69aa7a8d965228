/** What it costs to know callers and to limit them: keys and tokens, limits here and in Redis, beside Envoy's filters. */

import { spawnSync } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { SignJWT } from "jose";
import { freePorts } from "../support/ports.ts";
import type { Bench, Case, Contestant } from "./bench.ts";
import { benchKey } from "./peers/weft.ts";
import { hasProgram, otherCore, pin, Program, proxyCore } from "./process.ts";
import { figure, type CaseResult } from "./report.ts";
import { throughputCase } from "./throughput.ts";

const issuer = "https://issuer.example";
/** Tokens for misses: several times of what weft remembers (4096), so that none is remembered when it comes again. */
const distinctTokens = 16_384;

/** The case `auth`. Every contestant gets the same fields: a key and a token. */
export const authCase: Case = {
  name: "auth",
  title: "routes that know and limit their callers; every request has a key and a token (RS256)",
  async run(bench) {
    const signer = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
    const redis = await startRedis();
    try {
      const contestants = await toContestants(bench, signer, redis?.port ?? null);
      const { name, title } = authCase;
      const spec = { name, title, base: "weft: bare route", contestants };
      const result = await throughputCase(spec).run(bench);
      return withSignature(redis === null ? withoutRedis(result) : result, signer);
    } finally {
      await redis?.program.stop();
    }
  },
};

interface Pair {
  readonly publicKey: crypto.KeyObject;
  readonly privateKey: crypto.KeyObject;
}

async function toContestants(
  bench: Bench,
  signer: Pair,
  redisPort: number | null,
): Promise<readonly Contestant[]> {
  const jwk = { ...signer.publicKey.export({ format: "jwk" }), kid: "bench", alg: "RS256" };
  const jwks = path.join(bench.work, "jwks.json");
  fs.writeFileSync(jwks, JSON.stringify({ keys: [jwk] }));
  const headers = { "x-api-key": benchKey, authorization: `Bearer ${await sign(signer, "bench")}` };
  const misses = await toMisses(bench, signer);
  const limit = "limit: 1000000/s, by: consumer";
  const jwt = `{ jwt: { issuer: "${issuer}", jwks: ${jwks} } }`;
  const filters = envoyFilters(JSON.stringify({ keys: [jwk] }));
  const weft = { peer: "weft", headers } as const;
  const envoy = { peer: "envoy", headers, base: "envoy: bare route" } as const;
  return [
    { ...weft, label: "weft: bare route" },
    {
      ...weft,
      label: "weft: api-key + rate-limit",
      task: { policies: ["api-key", `{ rate-limit: { ${limit} } }`] },
    },
    { ...weft, label: "weft: jwt, known token", task: { policies: [jwt] } },
    {
      ...weft,
      label: "weft: jwt + rate-limit",
      task: { policies: [jwt, `{ rate-limit: { ${limit} } }`] },
    },
    { ...weft, label: "weft: jwt, new tokens", task: { policies: [jwt] }, script: misses },
    ...(redisPort === null
      ? []
      : [
          {
            ...weft,
            label: "weft: rate-limit in Redis",
            task: {
              policies: ["{ rate-limit: { limit: 1000000/s, store: redis } }"],
              config: `stores: { redis: "redis://127.0.0.1:${redisPort}" }`,
            },
          },
        ]),
    { ...envoy, label: "envoy: bare route" },
    {
      ...envoy,
      label: "envoy: api_key_auth + local_ratelimit",
      task: { policies: [filters.apiKey, filters.limit] },
    },
    {
      ...envoy,
      label: "envoy: jwt_authn with cache + local_ratelimit",
      task: { policies: [filters.jwt, filters.limit] },
    },
    {
      ...envoy,
      label: "envoy: jwt_authn, new tokens",
      task: { policies: [filters.jwt] },
      script: misses,
    },
  ];
}

function sign(signer: Pair, id: string): Promise<string> {
  return new SignJWT({ scope: "read write", jti: id })
    .setProtectedHeader({ alg: "RS256", kid: "bench" })
    .setSubject("bench")
    .setIssuer(issuer)
    .setIssuedAt()
    .setExpirationTime("6h")
    .sign(signer.privateKey);
}

/** A script for wrk with which each request has another token. */
async function toMisses(bench: Bench, signer: Pair): Promise<string> {
  const file = path.join(bench.work, "tokens.txt");
  const tokens = await Promise.all(
    Array.from({ length: distinctTokens }, (_, i) => sign(signer, String(i))),
  );
  fs.writeFileSync(file, tokens.join("\n"));
  // a run must not begin with the tokens that the one before it ended with
  return `
local requests, at = {}, 0
function init()
  for token in io.lines("${file}") do
    wrk.headers["authorization"] = "Bearer " .. token
    requests[#requests + 1] = wrk.format()
  end
  math.randomseed(os.time())
  at = math.random(#requests)
end
function request()
  at = at % #requests + 1
  return requests[at]
end
`;
}

interface Filters {
  readonly apiKey: string;
  readonly jwt: string;
  readonly limit: string;
}

/** Envoy's filters for the same work, as JSON, which is YAML too. */
function envoyFilters(jwks: string): Filters {
  const types = "type.googleapis.com/envoy.extensions.filters.http";
  const percent = { default_value: { numerator: 100, denominator: "HUNDRED" } };
  return {
    apiKey: JSON.stringify({
      name: "envoy.filters.http.api_key_auth",
      typed_config: {
        "@type": `${types}.api_key_auth.v3.ApiKeyAuth`,
        credentials: [{ key: benchKey, client: "bench" }],
        key_sources: [{ header: "x-api-key" }],
        forwarding: { header: "x-consumer", hide_credentials: true },
      },
    }),
    jwt: JSON.stringify({
      name: "envoy.filters.http.jwt_authn",
      typed_config: {
        "@type": `${types}.jwt_authn.v3.JwtAuthentication`,
        providers: {
          bench: {
            issuer,
            forward: true,
            local_jwks: { inline_string: jwks },
            jwt_cache_config: { jwt_cache_size: 4096 },
          },
        },
        rules: [{ match: { prefix: "/" }, requires: { provider_name: "bench" } }],
      },
    }),
    limit: JSON.stringify({
      name: "envoy.filters.http.local_ratelimit",
      typed_config: {
        "@type": `${types}.local_ratelimit.v3.LocalRateLimit`,
        stat_prefix: "limit",
        token_bucket: { max_tokens: 1e6, tokens_per_fill: 1e6, fill_interval: "1s" },
        filter_enabled: percent,
        filter_enforced: percent,
        enable_x_ratelimit_headers: "DRAFT_VERSION_03",
      },
    }),
  };
}

/** Beside the load, not beside the proxy. Null: there is none on PATH. */
async function startRedis(): Promise<{ readonly program: Program; readonly port: number } | null> {
  if (!hasProgram("redis-server")) return null;
  const [port] = (await freePorts(1)) as [number];
  const flags = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const program = await Program.start("redis-server", ["redis-server", ...flags], {
    core: otherCore,
    ports: [port],
  });
  return { program, port };
}

function withoutRedis(result: CaseResult): CaseResult {
  const missing = "weft: rate-limit in Redis: redis-server is not on PATH";
  return { ...result, missing: [...result.missing, missing] };
}

/** One more row: the verification that a new token cannot do without, alone, on the proxy's core. */
async function withSignature(result: CaseResult, signer: Pair): Promise<CaseResult> {
  const pem = signer.publicKey.export({ format: "pem", type: "spki" }) as string;
  const script = `
    const { createPublicKey, verify } = require("node:crypto");
    const key = createPublicKey(process.argv[1]);
    const [text, mark] = process.argv.slice(2).map((part) => Buffer.from(part, "base64url"));
    const rounds = 20000;
    const once = () => { if (!verify("sha256", text, key, mark)) throw new Error("refused"); };
    for (let i = 0; i < 1000; i++) once();
    const before = process.cpuUsage();
    for (let i = 0; i < rounds; i++) once();
    const { user, system } = process.cpuUsage(before);
    console.log((user + system) / rounds);`;
  const token = await sign(signer, "bench");
  const end = token.lastIndexOf(".");
  const text = Buffer.from(token.slice(0, end)).toString("base64url");
  const args = ["-e", script, "--", pem, text, token.slice(end + 1)];
  const command = pin(proxyCore, [process.execPath, ...args]);
  const { stdout } = spawnSync(command[0]!, command.slice(1), { encoding: "utf8" });
  const none = figure(null, 0);
  const figures = [figure(Number(stdout), 1), none, none, none, none];
  const row = { label: "RS256 verification alone (node:crypto)", figures, errors: 0 };
  return { ...result, rows: [...result.rows, row] };
}
