/** Knows callers by the signature of their request (RFC 9421 HTTP Message Signatures), the body's digest (RFC 9530) included. */

import { hash } from "node:crypto";
import { parseDictionary } from "structured-headers";
import { z } from "zod";
import { definePlugin, problem, slot } from "../proxy/pipeline/plugin.ts";
import { hasDigest, readContentDigest } from "./content-digest.ts";
import { identify } from "./identify.ts";
import { durationOption } from "./options.ts";
import { ComponentError, coveredNames, signatureBase } from "./signature-base.ts";
import { isSignedBy, readSignatureKeys } from "./signature-keys.ts";
import type { Dictionary, InnerList } from "structured-headers";
import type { ContentDigest } from "./content-digest.ts";
import type { SignatureKey } from "./signature-keys.ts";
import type { BufferedBody, Ctx, Reply, RequestHead } from "../proxy/pipeline/plugin.ts";

/** Longer fields are not parsed. */
const maxChars = 8192;
/** Signatures of one request that are looked at. */
const maxSignatures = 4;

/** What the body has to be: asked for once the head is in order. */
const Digest = slot<ContentDigest>("content digest");

/** A signature is refused, in words for its sender. */
class SignatureError extends Error {}

export default definePlugin({
  name: "http-signature",
  stage: "authn",
  modes: ["gateway", "mesh-inbound"],
  body: { request: { buffer: "1MiB", when: (_req, ctx) => ctx.get(Digest) !== undefined } },
  config: z.strictObject({
    components: z.array(z.string().min(1)).min(1).optional(),
    digest: z.boolean().default(true),
    maxAge: durationOption().default(300_000),
    clockSkew: durationOption().default(30_000),
    once: z.boolean().default(false),
    tag: z.string().optional(),
    optional: z.boolean().default(false),
  }),
  async setup({ components, digest, maxAge, clockSkew, once, tag, optional }, host) {
    const keys = await readSignatureKeys(host.consumers);
    const wanted = components?.map((name) => name.toLowerCase()) ?? null;
    const covered = (wanted ?? ["@method", "@target-uri"]).map((name) => `"${name}"`);
    const fields = [...covered, ...(digest ? ['"content-digest"'] : [])].join(" ");
    const challenge = {
      "www-authenticate": 'Signature realm="weft"',
      "accept-signature": `sig=(${fields});created;keyid`,
    };
    const refuse = (detail: string): Reply => problem("unauthenticated", 401, detail, challenge);
    const missing = refuse("a signature of the request is needed (RFC 9421)");
    const wrongBody = refuse("the body does not have the digest that was signed");
    // one of a kind in its time, over all worker threads
    const seen = host.limiter({
      id: `http-signature/${host.id}`,
      algorithm: "gcra",
      limit: 1,
      windowMs: maxAge + 2 * clockSkew,
      burst: 1,
      forgets: "oldest",
    });

    const checkTimes = (params: InnerList[1]): void => {
      const nowS = host.wallNow() / 1000;
      const skewS = clockSkew / 1000;
      const [created, expires] = [params.get("created"), params.get("expires")];
      if (typeof created !== "number")
        throw new SignatureError("it does not say when it was created");
      if (created > nowS + skewS) throw new SignatureError("it is from the future");
      if (created < nowS - maxAge / 1000 - skewS) throw new SignatureError("it is too old");
      if (expires !== undefined && (typeof expires !== "number" || expires < nowS - skewS))
        throw new SignatureError("it has expired");
    };
    const checkCovered = (req: RequestHead, names: ReadonlySet<string>): void => {
      const lacking =
        wanted === null ? lackingOf(req, names) : wanted.filter((one) => !names.has(one));
      if (digest && req.framing !== "none" && !names.has("content-digest"))
        lacking.push("content-digest");
      if (lacking.length > 0) throw new SignatureError(`it does not cover ${lacking.join(", ")}`);
    };
    /** The key that made the signature. Throws a {@link SignatureError} or a {@link ComponentError}. */
    const verify = (req: RequestHead, inner: InnerList, signature: Buffer): SignatureKey => {
      const [, params] = inner;
      const [keyid, algorithm] = [params.get("keyid"), params.get("alg")];
      if (tag !== undefined && params.get("tag") !== tag)
        throw new SignatureError(`it is not for ${tag}`);
      if (typeof keyid !== "string") throw new SignatureError("it names no key");
      checkTimes(params);
      checkCovered(req, coveredNames(inner));
      const base = signatureBase(req, inner);
      const alg = typeof algorithm === "string" ? algorithm : null;
      const key = keys.get(keyid)?.find((one) => isSignedBy(one, alg, base, signature));
      if (key === undefined) throw new SignatureError("no known key made it");
      const nonce = params.get("nonce");
      if (once || nonce !== undefined) {
        const text =
          nonce === undefined ? signature.toString("base64") : `${keyid} ${String(nonce)}`;
        if (!seen.take(hash("sha256", text, "base64"), 1).allowed)
          throw new SignatureError("it was used before");
      }
      return key;
    };

    return {
      request(req, ctx) {
        const [input, signatures] = [
          req.headers.get("signature-input"),
          req.headers.get("signature"),
        ];
        if (input === undefined && signatures === undefined) return optional ? undefined : missing;
        let reason = "it cannot be read";
        for (const [inner, signature] of pairsOf(input, signatures)) {
          try {
            const { consumer } = verify(req, inner, signature);
            if (coveredNames(inner).has("content-digest")) {
              const digests = readContentDigest(req.headers.get("content-digest") ?? "");
              if (digests === null) throw new SignatureError("it covers no digest that is known");
              if (req.framing !== "none") ctx.set(Digest, digests);
              else if (!hasDigest(new Uint8Array(0), digests)) return wrongBody;
            }
            identify(req, ctx, consumer);
            return undefined;
          } catch (error) {
            if (!(error instanceof SignatureError || error instanceof ComponentError)) throw error;
            reason = error.message;
          }
        }
        return refuse(`the signature is refused: ${reason}`);
      },
      requestBody(body: BufferedBody, ctx: Ctx) {
        return hasDigest(body.bytes, ctx.get(Digest)!) ? undefined : wrongBody;
      },
    };
  },
});

/** By default a signature says which request it is for: the method, the host, the path and the query. */
function lackingOf(req: RequestHead, names: ReadonlySet<string>): string[] {
  const lacking: string[] = [];
  if (!names.has("@method")) lacking.push("@method");
  if (names.has("@target-uri")) return lacking;
  if (!names.has("@authority") && !names.has("host")) lacking.push("@authority");
  if (names.has("@request-target")) return lacking;
  if (!names.has("@path")) lacking.push("@path");
  if (req.query !== "" && !names.has("@query")) lacking.push("@query");
  return lacking;
}

/** Signatures with what they cover, by their labels; none when the fields cannot be read. */
function pairsOf(input: string | undefined, signatures: string | undefined): [InnerList, Buffer][] {
  if (input === undefined || signatures === undefined) return [];
  if (input.length > maxChars || signatures.length > maxChars) return [];
  const pairs: [InnerList, Buffer][] = [];
  try {
    const made: Dictionary = parseDictionary(signatures);
    for (const [label, inner] of parseDictionary(input)) {
      const [signature] = made.get(label) ?? [];
      if (Array.isArray(inner[0]) && signature instanceof ArrayBuffer)
        pairs.push([inner as InnerList, Buffer.from(signature)]);
    }
  } catch {
    return [];
  }
  return pairs.slice(0, maxSignatures);
}
