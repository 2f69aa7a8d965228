/** Serves a route from an app in process: anything with `fetch`, such as a Hono app. */

import { answers, failOnBug } from "./answer.ts";
import type { Exchange, Forwarding } from "./exchange.ts";
import { Kind } from "./http/fields.ts";
import { ResponseHead } from "./http/head.ts";
import { asBuffer } from "./http/latin1.ts";
import { httpDate } from "./http/respond.ts";
import type { App } from "./snapshot.ts";
import { safeValue } from "./upstream/outgoing.ts";

/** Body bytes of a request that wait for the app to read them; more stop the caller. */
const QUEUE_BYTES = 64 * 1024;

/** Hands the exchange to the app. Its answer passes the `response` hooks like any other. */
export function serveApp(x: Exchange, app: App): void {
  const call = new AppCall(x);
  x.forward = call;
  const { early } = x;
  x.early = null;
  for (const chunk of early ?? []) call.sendData(chunk);
  if (x.requestDone) call.sendEnd();
  else if (early !== null) x.downstream.resume();
  void call.run(app);
}

class AppCall implements Forwarding {
  readonly endpointAddress = null;
  private readonly x: Exchange;
  private readonly body: ReadableStream<Uint8Array> | null;
  private feed: ReadableStreamDefaultController<Uint8Array> | null = null;
  private reader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  private isOver = false;
  private isPaused = false;
  private resume: (() => void) | null = null;
  private callerPaused = false;

  constructor(x: Exchange) {
    this.x = x;
    this.body =
      x.req.framing === "none" || x.req.method === "GET" || x.req.method === "HEAD"
        ? null
        : new ReadableStream<Uint8Array>(
            {
              start: (controller) => {
                this.feed = controller;
              },
              pull: () => this.releaseCaller(),
            },
            new ByteLengthQueuingStrategy({ highWaterMark: QUEUE_BYTES }),
          );
  }

  async run(app: App): Promise<void> {
    const { x } = this;
    try {
      const response = await app.fetch(this.request());
      if (this.isOver) return void response.body?.cancel().catch(() => {});
      answers.onHead(x, headOf(response));
      x.downstream.flush();
      this.reader = response.body?.getReader() ?? null;
      while (this.reader !== null && !this.isOver) {
        if (this.isPaused) await new Promise<void>((resolve) => (this.resume = resolve));
        const { done, value } = await this.reader.read();
        if (done || this.isOver) break;
        answers.onData(x, asBuffer(value));
        x.downstream.flush();
      }
      if (this.isOver) return;
      this.isOver = true;
      answers.onEnd(x, "");
    } catch (error) {
      if (this.isOver) return;
      this.isOver = true;
      failOnBug(x, error);
    }
  }

  private request(): Request {
    const { x } = this;
    const { req } = x;
    const headers = new Headers();
    const { drop } = x.trust;
    const fields = req.headers;
    for (let i = 0; i < fields.count; i++) {
      const kind = fields.kinds[i]!;
      if (drop[kind] !== 1 && kind !== Kind.named && !fields.isReplacedAt(i))
        headers.append(fields.nameAt(i), fields.valueAt(i));
    }
    for (const edit of fields.edits ?? [])
      if (edit.name !== null) headers.append(edit.name, edit.value);
    for (const line of x.trust.lines(req, x.conn).split("\r\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) headers.set(line.slice(0, colon), line.slice(colon + 1).trim());
    }
    headers.set("x-request-id", x.id);
    if (x.consumer !== null) headers.set("x-weft-consumer", safeValue(x.consumer.name));
    const init: RequestInit & { duplex?: "half" } = {
      method: req.method,
      headers,
      signal: x.signal,
    };
    if (this.body !== null) {
      init.body = this.body;
      init.duplex = "half";
    }
    return new Request(`${req.scheme}://${req.authority || "localhost"}${req.target}`, init);
  }

  sendData(chunk: Buffer): void {
    if (this.feed === null || this.isOver) return;
    this.feed.enqueue(new Uint8Array(chunk));
    if ((this.feed.desiredSize ?? 0) <= 0 && !this.callerPaused) {
      this.callerPaused = true;
      this.x.downstream.pause();
    }
  }

  private releaseCaller(): void {
    if (!this.callerPaused) return;
    this.callerPaused = false;
    this.x.downstream.resume();
  }

  sendEnd(): void {
    if (this.feed !== null && !this.isOver) this.feed.close();
    this.feed = null;
  }

  flush(): void {}

  blame(): void {}

  pauseAnswer(): void {
    this.isPaused = true;
  }

  resumeAnswer(): void {
    this.isPaused = false;
    this.resume?.();
    this.resume = null;
  }

  cancel(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.resumeAnswer();
    this.feed?.error(new Error("the caller is gone"));
    this.feed = null;
    this.reader?.cancel().catch(() => {});
  }
}

function headOf(response: Response): ResponseHead {
  const head = new ResponseHead();
  head.status = response.status;
  head.source = "reply";
  let length = -1;
  for (const [name, value] of response.headers) {
    if (name === "content-length") length = /^\d{1,15}$/.test(value) ? Number(value) : -1;
    else if (
      name !== "transfer-encoding" &&
      name !== "connection" &&
      name !== "keep-alive" &&
      name !== "upgrade" &&
      name !== "trailer"
    )
      head.headers.append(name, value);
  }
  if (!response.headers.has("date")) head.headers.append("date", httpDate());
  if (response.status === 204 || response.status === 304) head.framing = "none";
  else if (response.body === null) {
    head.framing = "length";
    length = 0;
  } else head.framing = length >= 0 ? "length" : "chunked";
  head.contentLength = length;
  return head;
}
