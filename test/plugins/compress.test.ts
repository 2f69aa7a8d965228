import assert from "node:assert/strict";
import { test } from "node:test";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import { chooseEncoding, encodings } from "../../plugins/content-encoder.ts";
import { createKit } from "../support/plugin-kit.ts";
import type { KitOptions, KitUpstream } from "../support/plugin-kit.ts";

const text = "to and fro goes the shuttle ".repeat(200);
const html = { "content-type": "text/html; charset=utf-8" };

async function ask(
  upstream: KitUpstream,
  headers: Readonly<Record<string, string>> = { "accept-encoding": "gzip" },
  method = "GET",
) {
  const options: KitOptions = { upstream: () => upstream };
  const kit = await createKit([{ use: "compress" }], options);
  const answer = await kit.request({ headers, method });
  await kit.close();
  return answer;
}

for (const [accept, expected] of [
  ["gzip, br", "br"],
  ["gzip", "gzip"],
  ["x-gzip", "gzip"],
  ["br;q=0.5, gzip;q=0.8", "gzip"],
  ["br;q=0, *", "zstd"],
  ["*", "br"],
  ["zstd;q=1.0, br;q=0.9", "zstd"],
  ["gzip;q=0.3, identity", null],
  ["gzip;q=0", null],
  ["identity", null],
  ["deflate", null],
  ["", null],
  [";;,q=,", null],
] as const) {
  test(`"${accept}" asks for ${expected ?? "no encoding"}`, () => {
    assert.equal(chooseEncoding(accept, encodings), expected);
  });
}

for (const [encoding, decode] of [
  ["br", brotliDecompressSync],
  ["zstd", zstdDecompressSync],
  ["gzip", gunzipSync],
] as const) {
  test(`${encoding} comes out as it went in, whole and in chunks`, async () => {
    const accept = { "accept-encoding": encoding };
    const whole = await ask({ headers: { ...html, etag: '"v1"' }, body: text }, accept);
    assert.equal(whole.headers["content-encoding"], encoding);
    assert.equal(whole.headers["etag"], 'W/"v1"');
    assert.equal(whole.headers["vary"], "Accept-Encoding");
    assert(whole.body.length < text.length / 4);
    assert.equal(decode(whole.body).toString(), text);
    const chunks = Array.from({ length: 50 }, (_, i) => `${i}: ${text.slice(0, i * 7)}\n`);
    const live = await ask({ headers: html, body: chunks }, accept);
    assert.equal(decode(live.body).toString(), chunks.join(""));
  });
}

for (const [what, upstream, headers, method] of [
  ["a small body", { headers: html, body: "x" }, undefined, "GET"],
  ["an image", { headers: { "content-type": "image/png" }, body: text }, undefined, "GET"],
  ["an event stream", { headers: { "content-type": "text/event-stream" }, body: text }],
  ["an encoded body", { headers: { ...html, "content-encoding": "br" }, body: text }],
  ["no-transform", { headers: { ...html, "cache-control": "public, no-transform" }, body: text }],
  ["a part", { status: 206, headers: html, body: text }],
  ["an unchanged answer", { status: 304, headers: html, body: "" }],
  ["a caller who asks for none", { headers: html, body: text }, {}],
  ["an answer to HEAD", { headers: html, body: text }, undefined, "HEAD"],
] as [string, KitUpstream, Record<string, string>?, string?][]) {
  test(`leaves alone ${what}`, async () => {
    const answer = await ask(upstream, headers, method);
    assert.notEqual(answer.headers["content-encoding"], "gzip");
    assert.equal(answer.body.toString(), upstream.body);
  });
}

test("an answer that could have been compressed varies by what was asked", async () => {
  const answer = await ask({ headers: { ...html, vary: "Cookie" }, body: text }, {});
  assert.equal(answer.headers["vary"], "Cookie, Accept-Encoding");
});

test("a chunk of a live answer comes out before the next one goes in", async () => {
  const kit = await createKit([{ use: "compress" }]);
  const { openResponseBody } = await import("../../proxy/pipeline/body.ts");
  const { runRequest, runResponse, runDone } = await import("../../proxy/pipeline/run.ts");
  const { ResponseHead } = await import("../../proxy/http/head.ts");
  const x = kit.exchange({ headers: { "accept-encoding": "gzip" } });
  runRequest(kit.chain, x, () => {});
  const head = new ResponseHead();
  head.framing = "chunked";
  head.headers.set("content-type", "application/x-ndjson");
  runResponse(kit.chain, x, head, () => {});
  const body = openResponseBody(kit.chain, x, head)!;
  const first = new Promise<Buffer>((resolve) => {
    body.sink = {
      onData: (bytes) => resolve(Buffer.from(bytes)),
      onEnd() {},
      onReady() {},
      onReply() {},
      onError() {},
    };
  });
  body.write(Buffer.from('{"tick":1}\n'));
  const out = await first;
  assert.equal(gunzipSync(out, { finishFlush: 2 }).toString(), '{"tick":1}\n');
  body.destroy();
  runDone(kit.chain, x, { ...end });
  await kit.close();
});

const end = {
  status: 200,
  code: null,
  durationMs: 0,
  requestBytes: 0,
  responseBytes: 0,
  attempts: 1,
  endpoint: null,
  end: "client-aborted",
} as const;
