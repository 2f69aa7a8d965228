/** Compresses answers that are worth it, in an encoding that the caller asked for. */

import { z } from "zod";
import { definePlugin, slot } from "../proxy/pipeline/plugin.ts";
import { ContentEncoder, chooseEncoding, encodings } from "./content-encoder.ts";
import { sizeOption } from "./options.ts";
import { addVary } from "./vary.ts";
import type { RequestHead, ResponseHead, StreamHook } from "../proxy/pipeline/plugin.ts";

const Encoder = slot<ContentEncoder>("compress.encoder");

/** Types that shrink. Images, video, archives and event streams are left alone. */
const compressible =
  /^(?:text\/(?!event-stream)|application\/(?:json|javascript|xml|wasm|manifest|graphql|x-ndjson|x-javascript|vnd\.ms-fontobject)|image\/(?:svg|bmp|x-icon|vnd\.microsoft\.icon)|font\/(?:ttf|otf)|[^;]*\+(?:json|xml|text)\b)/i;

export default definePlugin({
  name: "compress",
  // outermost on the way out: what later plugins change is compressed too
  stage: "admit",
  modes: ["gateway", "mesh-inbound"],
  config: z.strictObject({
    encodings: z
      .array(z.enum(encodings))
      .min(1)
      .default([...encodings]),
    minBytes: sizeOption().default(1024),
  }),
  body: { response: { when: (_res, ctx) => ctx.get(Encoder) !== undefined } },
  setup(config) {
    return {
      response(res, ctx) {
        if (!isWorthIt(ctx.req, res, config.minBytes)) return;
        addVary(res.headers, "Accept-Encoding");
        const encoding = chooseEncoding(ctx.req.headers.get("accept-encoding"), config.encodings);
        if (encoding === null) return;
        res.headers.set("content-encoding", encoding);
        // a strong validator promises equal bytes (RFC 9110 section 8.8.3); ranges count bytes of the other form
        const etag = res.headers.get("etag");
        if (etag !== undefined && !etag.startsWith("W/")) res.headers.set("etag", `W/${etag}`);
        for (const name of [
          "accept-ranges",
          "content-md5",
          "digest",
          "content-digest",
          "repr-digest",
        ]) {
          if (res.headers.has(name)) res.headers.delete(name);
        }
        ctx.set(Encoder, new ContentEncoder(encoding, res.contentLength));
      },
      responseBody: ((chunk, ctx, last) => {
        return ctx.get(Encoder)!.encode(chunk, last);
      }) satisfies StreamHook,
      done(_info, ctx) {
        ctx.get(Encoder)?.destroy();
      },
    };
  },
});

function isWorthIt(req: RequestHead, res: ResponseHead, minBytes: number): boolean {
  const { status, headers } = res;
  if (req.method === "HEAD" || status < 200 || status === 204 || status === 206 || status === 304)
    return false;
  if (res.framing === "none" || (res.contentLength >= 0 && res.contentLength < minBytes))
    return false;
  if (!compressible.test(headers.get("content-type") ?? "")) return false;
  const encoding = headers.get("content-encoding");
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") return false;
  return !/\bno-transform\b/i.test(
    `${headers.get("cache-control") ?? ""},${req.headers.get("cache-control") ?? ""}`,
  );
}
