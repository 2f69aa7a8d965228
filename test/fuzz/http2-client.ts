/** The client's codec with three requests under way: bytes of an endpoint in, frames and what each request heard out. */

import type { Wheel } from "../../proxy/clock.ts";
import { RequestHead, type ResponseHead } from "../../proxy/http/head.ts";
import type { ResponseSink } from "../../proxy/http/stream.ts";
import { ClientSession } from "../../proxy/http2/client.ts";
import { clientPreface } from "../../proxy/http2/frames.ts";
import type { ProxyError } from "../../proxy/errors.ts";
import type { Frame } from "../proxy/http2/frame-client.ts";
import { pairs } from "./second-reader.ts";
import { type Cuts, Wire } from "./http2-wire.ts";

/** What came of a session. */
export interface Asked {
  readonly frames: Frame[];
  /** Of each request: what arrived, in order. */
  readonly heard: string[][];
}

class Listener implements ResponseSink {
  readonly heard: string[] = [];
  private bytes = 0;

  onInformational(head: ResponseHead): void {
    this.heard.push(`informational ${head.status}`);
  }

  onHead(head: ResponseHead): void {
    this.heard.push(`head ${head.status} ${head.framing} ${JSON.stringify(pairs(head.headers))}`);
  }

  onResponseData(chunk: Buffer): void {
    this.bytes += chunk.length;
  }

  onResponseEnd(trailers: string): void {
    this.heard.push(`end ${this.bytes} ${JSON.stringify(trailers)}`);
  }

  onFailure(error: ProxyError, silent: boolean): void {
    this.heard.push(`failure ${error.code} ${silent}`);
  }

  onUpstreamReady(): void {}
  onTurnEnd(): void {}
}

const owner = {
  onSettled() {},
  onRoom() {},
  onClosing() {},
  onGone() {},
  onDue() {},
  onError() {},
};
const wheel = { arm() {}, disarm() {} } as unknown as Wheel;
const nothingDropped = new Uint8Array(256);

function requestOf(method: string, length: number): RequestHead {
  const req = new RequestHead();
  req.method = method;
  req.framing = length === 0 ? "none" : length > 0 ? "length" : "chunked";
  req.contentLength = length;
  req.headers.append("x-one", "1");
  return req;
}

/** Asks for a GET, a POST that is whole and one that is not, on streams 1, 3 and 5; the endpoint is gone in the end. */
export function ask(bytes: Buffer, cuts: Cuts): Asked {
  const wire = new Wire();
  const session = new ClientSession(wire.transport, "endpoint", "http", owner, wheel);
  const listeners = [requestOf("GET", 0), requestOf("POST", 5), requestOf("POST", -1)].map(
    (req, i) => {
      const stream = session.open();
      const listener = new Listener();
      stream.send(listener, {
        req,
        fields: req.headers,
        target: `/${i}`,
        authority: "a.test",
        drop: nothingDropped,
        extra: "via: 1.1 weft\r\n",
      });
      if (i > 0) stream.write(Buffer.from("hello"));
      if (i === 1) stream.end("");
      return listener;
    },
  );
  wire.deliver(bytes, cuts);
  session.output.flush();
  const frames = wire.frames(clientPreface.length);
  session.onClose(null);
  return { frames, heard: listeners.map(({ heard }) => heard) };
}
