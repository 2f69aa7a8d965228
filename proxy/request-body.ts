/** A request body on its way through plugins to its forwarding. */

import { fail, reply } from "./answer.ts";
import type { Exchange } from "./exchange.ts";
import { ResponseHead } from "./http/head.ts";
import { asBuffer } from "./http/latin1.ts";
import type { BodyTransform } from "./pipeline/body.ts";
import type { Forward } from "./upstream/forward.ts";

/** Feeds what has come so far; the rest follows through the exchange. */
export function sendBody(x: Exchange, forward: Forward, body: BodyTransform): void {
  x.requestBody = body;
  let started = false;
  const startOnce = (): void => {
    if (started) return;
    started = true;
    // plugins may have changed the length: what is known of it now is what is announced
    x.req.framing = body.outputLength >= 0 ? "length" : "chunked";
    x.req.contentLength = body.outputLength;
    forward.start();
  };
  body.sink = {
    onData: (bytes) => {
      startOnce();
      forward.sendData(asBuffer(bytes));
    },
    onEnd: () => {
      startOnce();
      x.requestBody = null;
      forward.sendEnd(x.earlyTrailers);
      forward.flush();
    },
    onReady: () => x.downstream.resume(),
    onReply: (made) => reply(x, made),
    onError: (error) => fail(x, error),
  };
  if (!body.holdsHead) startOnce();
  else if (x.req.expectContinue) sendContinue(x);
  const { early } = x;
  x.early = null;
  for (const chunk of early ?? []) body.write(chunk);
  if (x.requestDone) body.end();
  else x.downstream.resume();
}

/** We want the body before anybody upstream is asked: so the go-ahead is ours to give. */
function sendContinue(x: Exchange): void {
  const head = new ResponseHead();
  head.status = 100;
  head.source = "reply";
  x.downstream.sendInformational(head);
}
