/** The server's codec with a service of its own behind it: bytes of a caller in, frames and what was heard out. */

import type { ConnectionInfo, ServeEnv } from "../../proxy/exchange.ts";
import type { ProxyError } from "../../proxy/errors.ts";
import { type RequestHead, ResponseHead } from "../../proxy/http/head.ts";
import type { Downstream, RequestSink } from "../../proxy/http/stream.ts";
import { WindowBudget } from "../../proxy/http2/flow.ts";
import { Http2ServerConnection } from "../../proxy/http2/server.ts";
import { pairs } from "./second-reader.ts";
import { type Cuts, WIPED, Wire } from "./http2-wire.ts";
import type { Frame } from "../proxy/http2/frame-client.ts";

/** What came of a session. */
export interface Served {
  readonly frames: Frame[];
  /** Requests and how each went on, in order. */
  readonly heard: string[];
}

const LARGE = Buffer.alloc(100_000, "y");

/** Answers by path, as soon as it can: with the body that came, much, early, or cut. */
class Answer implements RequestSink {
  private readonly downstream: Downstream;
  private readonly path: string;
  private readonly heard: string[];
  private readonly id: number;
  private body: Buffer[] = [];
  /** Trailers that wait for the caller to take the body; null: none do. */
  private rest: string | null = null;
  private isOver = false;

  constructor(downstream: Downstream, req: RequestHead, heard: string[]) {
    this.downstream = downstream;
    this.path = req.target;
    this.heard = heard;
    this.id = heard.length;
  }

  private note(what: string): void {
    this.heard.push(`${this.id} ${what}`);
  }

  start(isWhole: boolean): void {
    if (this.path === "/early") {
      const hints = new ResponseHead();
      hints.status = 103;
      hints.headers.append("link", "</a.css>");
      this.downstream.sendInformational(hints);
      this.answer(Buffer.from("early"), "");
    } else if (this.path === "/cut") {
      this.head("chunked");
      this.downstream.sendData(Buffer.from("part"));
      this.isOver = true;
      this.downstream.abort();
    } else if (isWhole) this.onRequestEnd("");
  }

  private head(framing: "chunked" | "length", length = -1): void {
    const head = new ResponseHead();
    head.framing = framing;
    head.contentLength = length;
    head.headers.append("x-served", "yes");
    this.downstream.sendHead(head, "x-extra: 1\r\n");
  }

  private answer(body: Buffer, trailers: string): void {
    this.head("chunked");
    // nobody may keep the bytes
    const lent = Buffer.from(body);
    const goesOn = this.downstream.sendData(lent);
    lent.fill(WIPED);
    if (goesOn) this.end(trailers);
    else this.rest = trailers;
  }

  private end(trailers: string): void {
    this.isOver = true;
    this.downstream.sendEnd(trailers);
  }

  onRequestData(chunk: Buffer): void {
    this.body.push(Buffer.from(chunk));
  }

  onRequestEnd(trailers: string): void {
    const body = Buffer.concat(this.body);
    this.note(`end ${body.length} ${body.toString("hex", 0, 40)} ${JSON.stringify(trailers)}`);
    if (this.isOver) return;
    this.answer(
      this.path === "/large" ? LARGE : body,
      this.path === "/trailers" ? "x-sum: 7\r\n" : "",
    );
  }

  onRequestError(error: ProxyError): void {
    this.note(`error ${error.code}`);
    this.isOver = true;
  }

  onCallerGone(): void {
    this.note("gone");
    this.isOver = true;
  }

  onCallerReady(): void {
    if (this.rest === null || this.isOver) return;
    const trailers = this.rest;
    this.rest = null;
    this.end(trailers);
  }

  onTurnEnd(): void {}
}

/** The parts of an env that a connection uses. */
function envOf(heard: string[]): ServeEnv {
  const begin = (downstream: Downstream, req: RequestHead): Answer => {
    const answer = new Answer(downstream, req, heard);
    heard.push(`${req.method} ${req.target} ${req.framing} ${JSON.stringify(shown(req))}`);
    downstream.attach(answer);
    return answer;
  };
  return {
    now: () => 1000,
    limits: { headerBytes: 8192, headerCount: 50, headerTimeoutMs: 1000, idleTimeoutMs: 1000 },
    metrics: { connection() {}, protocolError() {} },
    wheel: { arm() {}, disarm() {} },
    log: { info() {}, warn() {} },
    flow: {
      begin(_env: ServeEnv, downstream: Downstream, _conn: ConnectionInfo, req: RequestHead) {
        const isWhole =
          req.framing === "none" || (req.framing === "length" && req.contentLength === 0);
        begin(downstream, req).start(isWhole);
      },
      refuse(
        _env: ServeEnv,
        downstream: Downstream,
        _conn: ConnectionInfo,
        req: RequestHead,
        error: ProxyError,
      ) {
        begin(downstream, req).onRequestError(error);
        const head = new ResponseHead();
        head.status = error.status;
        head.framing = "length";
        head.contentLength = 0;
        downstream.sendHead(head, "");
        downstream.sendEnd("");
      },
    },
  } as unknown as ServeEnv;
}

/** Fields but for the key that an extended CONNECT gets at random. */
function shown(req: RequestHead): string[] {
  const all = pairs(req.headers);
  const at = all.indexOf("sec-websocket-key");
  return at === -1 ? all : all.toSpliced(at, 2);
}

/** Everything that the server makes of `bytes` in the pieces that `cuts` make; then the caller is gone. */
export function serve(bytes: Buffer, cuts: Cuts): Served {
  const wire = new Wire();
  const heard: string[] = [];
  const conn = { client: { address: "127.0.0.1" }, listener: "web", secure: false };
  const connection = new Http2ServerConnection(
    wire.transport,
    conn as unknown as ConnectionInfo,
    envOf(heard),
    { concurrentStreams: 4, budget: new WindowBudget(1_000_000) },
  );
  wire.deliver(bytes, cuts);
  connection.output.flush();
  const frames = wire.frames();
  connection.onClose(null);
  return { frames, heard };
}
