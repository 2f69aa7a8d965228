/** What holds for the HTTP/1.1 codecs on any bytes. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { RequestHead, ResponseHead } from "../../proxy/http/head.ts";
import { Kind } from "../../proxy/http/fields.ts";
import { parseRequestHead, parseResponseHead } from "../../proxy/http1/head.ts";
import { hopByHop, requestHeadText, responseHeadText } from "../../proxy/http1/serialise.ts";
import { cuts, damaged, request, response, streamOf } from "./messages.ts";
import { pairs, readByNode, readByWeft } from "./second-reader.ts";
import type { Heard, Reading } from "./second-reader.ts";
import type { FuzzProperty } from "./property.ts";

/**
 * What Node's parser refuses and weft reads, each harmless since weft writes the message anew: Node knows a closed list of
 * methods and of protocol names, checks the grammar of chunk extensions, which weft drops, and stops reading at an Upgrade
 * even when the request has a body, where weft drops the Upgrade.
 */
const nodeIsStricter = new Set([
  "HPE_INVALID_METHOD",
  "HPE_INVALID_CHUNK_SIZE",
  "HPE_STRICT",
  "upgrade",
]);

/** What Node's parser reads wrongly: a body behind a 1xx that has a Content-Length (RFC 9112 section 6.3: it never has one). */
const nodeIsWrong = /^HTTP\/1\.[01] 1\d\d[^]*content-length/im;

/** Streams of `side`, damaged, in any pieces: read alike in all of them. */
function alikeInAnyPieces(side: "request" | "response"): fc.IAsyncProperty<unknown> {
  const message = side === "request" ? request : response;
  return fc.asyncProperty(damaged(streamOf(message)), cuts, async (stream, at) => {
    const whole = readByWeft(side, stream);
    const pieces = readByWeft(side, stream, at);
    // a refusal may show earlier or later, never a different message
    assert.deepEqual(pieces.messages, whole.messages, JSON.stringify(stream));
    assert.equal(pieces.end, whole.end, JSON.stringify(stream));
  });
}

/** Streams of `side`, damaged: Node reads every message that weft takes, and finds the same in it. */
function alikeForNode(side: "request" | "response"): fc.IAsyncProperty<unknown> {
  const message = side === "request" ? request : response;
  return fc.asyncProperty(damaged(streamOf(message)), async (stream) => {
    if (nodeIsWrong.test(stream)) return;
    const weft = readByWeft(side, stream);
    const node = readByNode(side, stream);
    weft.messages.forEach((heard, i) => {
      const second = node.messages[i];
      if (second === undefined && isExcused(weft, node)) return;
      assert.deepEqual(
        second && comparable(second),
        comparable(heard),
        `${JSON.stringify(stream)}: ${node.why}`,
      );
    });
  });
}

function isExcused(weft: Reading, node: Reading): boolean {
  return weft.messages.length > node.messages.length && nodeIsStricter.has(node.why);
}

function comparable(heard: Heard): Heard {
  // an absolute target is reduced to its path by weft, which has compared the host with Host
  const start = heard.start.replace(/ https?:\/\/[^/?]*/i, " ").replace(/ (?=\?|$)/, " /");
  return { ...heard, start: start.replace(/^OPTIONS \/$/, "OPTIONS *") };
}

const limits = { headerBytes: 60 * 1024, headerCount: 100 };

/** What is written for a request is read again as the same request, by both parsers, with one framing and one Host. */
const requestRoundTrip = fc.asyncProperty(request, async (text) => {
  const bytes = Buffer.from(text, "latin1");
  const req = new RequestHead();
  if (parseRequestHead(bytes, 0, bytes.length, req, limits) < 0) return;
  const drop = hopByHop.slice();
  drop[Kind.host] = 1;
  const written = requestHeadText({
    req,
    fields: req.headers,
    target: req.target,
    authority: req.authority,
    drop,
    extra: "x-added: 1\r\n",
  });
  const again = new RequestHead();
  const copy = Buffer.from(written, "latin1");
  assert.equal(parseRequestHead(copy, 0, copy.length, again, limits), copy.length, written);
  assert.deepEqual(
    [again.method, again.target, again.framing, again.contentLength, again.authority],
    [req.method, req.target, req.framing, req.contentLength, req.authority],
  );
  const kept = (head: RequestHead) =>
    Array.from({ length: head.headers.count }, (_, i) => i)
      .filter((i) => drop[head.headers.kinds[i]!] === 0)
      .map((i) => [head.headers.nameAt(i), head.headers.valueAt(i)]);
  assert.deepEqual(kept(again), [...kept(req), ["x-added", "1"]]);
  const framing = pairs(again.headers).filter(
    (name, i) => i % 2 === 0 && /^(host|content-length|transfer-encoding)$/i.test(name),
  );
  assert.equal(framing.length, req.framing === "none" ? 1 : 2, written);
  const second = readByNode(
    "request",
    written +
      (req.framing === "length"
        ? "b".repeat(req.contentLength)
        : req.framing === "chunked"
          ? "0\r\n\r\n"
          : ""),
  );
  assert.equal(second.messages.length, 1, `${second.why}: ${written}`);
});

/** The same for answers. */
const responseRoundTrip = fc.asyncProperty(response, fc.boolean(), async (text, closes) => {
  const bytes = Buffer.from(text, "latin1");
  const res = new ResponseHead();
  if (parseResponseHead(bytes, 0, bytes.length, res, "GET", limits) < 0) return;
  const framing = res.framing === "until-close" ? "chunked" : res.framing;
  const written = responseHeadText(res, framing, closes, false, "x-added: 1\r\n");
  const again = new ResponseHead();
  const copy = Buffer.from(written, "latin1");
  assert.equal(parseResponseHead(copy, 0, copy.length, again, "GET", limits), copy.length, written);
  assert.deepEqual(
    [again.status, again.framing, again.contentLength],
    [res.status, framing, res.contentLength],
    written,
  );
  if (framing !== "none") assert.equal(again.keepAlive, !closes);
  assert.equal(again.headers.get("x-added"), "1");
});

export const codecProperties: readonly FuzzProperty[] = [
  {
    name: "requests are read alike in any pieces",
    runs: 4000,
    property: alikeInAnyPieces("request"),
  },
  {
    name: "answers are read alike in any pieces",
    runs: 4000,
    property: alikeInAnyPieces("response"),
  },
  {
    name: "requests that weft takes, Node reads alike",
    runs: 8000,
    property: alikeForNode("request"),
  },
  {
    name: "answers that weft takes, Node reads alike",
    runs: 8000,
    property: alikeForNode("response"),
  },
  { name: "a request that is written is read as it was", runs: 3000, property: requestRoundTrip },
  { name: "an answer that is written is read as it was", runs: 3000, property: responseRoundTrip },
];
