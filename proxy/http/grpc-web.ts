/** gRPC-Web callers before gRPC endpoints: the body of text callers in base64, and trailers as the last frame of the body. */

import { ProxyError } from "../errors.ts";
import type { RequestHead, ResponseHead } from "./head.ts";
import { latin1 } from "./latin1.ts";
import type { Downstream, RequestSink } from "./stream.ts";

const prefix = "application/grpc-web";
const textPrefix = "application/grpc-web-text";
/** Most significant bit of a frame's first octet: it holds trailers (gRPC-Web protocol, "HTTP/2 related frames"). */
const TRAILERS = 0x80;

/** True for `application/grpc-web` and `application/grpc-web-text`, with or without a message format. */
export function isGrpcWeb(req: RequestHead): boolean {
  const type = req.method === "POST" ? req.headers.get("content-type") : undefined;
  return type !== undefined && type.startsWith(prefix);
}

/** Stands between a gRPC-Web caller and its exchange, which sees gRPC. */
export class GrpcWebCaller implements Downstream, RequestSink {
  private readonly inner: Downstream;
  private sink: RequestSink;
  private readonly readsText: boolean;
  private readonly writesText: boolean;
  private readonly answerType: string;
  /** Base64 characters that do not make three octets yet. */
  private request = "";
  /** The answer is gRPC, and not of trailers only. */
  private isTranslated = false;
  /** Octets of the answer that do not fill four characters yet. */
  private rest: Buffer = Buffer.alloc(0);
  private deferred: NodeJS.Immediate | null = null;

  /** Changes the head to that of a gRPC request, and takes its place at the caller's side. */
  constructor(inner: Downstream, sink: RequestSink, req: RequestHead) {
    this.inner = inner;
    this.sink = sink;
    const type = req.headers.get("content-type")!.split(";")[0]!.trim();
    this.readsText = type.startsWith(textPrefix);
    this.writesText = this.readsText || (req.headers.get("accept") ?? "").includes(textPrefix);
    const format = type.slice((this.readsText ? textPrefix : prefix).length);
    this.answerType = `${this.writesText ? textPrefix : prefix}${format}`;
    req.headers.set("content-type", `application/grpc${format}`);
    if (this.readsText && req.framing === "length") {
      req.framing = "chunked";
      req.contentLength = -1;
    }
    inner.attach(this);
  }

  /** Octets of the request as gRPC has them; null: that is no base64. */
  read(chunk: Buffer): Buffer | null {
    if (!this.readsText) return chunk;
    const text = this.request + latin1(chunk, 0, chunk.length);
    const whole = text.length - (text.length % 4);
    this.request = text.slice(whole);
    if (/[^A-Za-z0-9+/=]/.test(text)) return null;
    // every part may be padded on its own, where the caller flushed
    const parts = text.slice(0, whole).split(/(?<==)(?=[^=])/);
    return Buffer.concat(parts.map((part) => Buffer.from(part, "base64")));
  }

  // === impl RequestSink ===

  onRequestData(chunk: Buffer): void {
    const bytes = this.read(chunk);
    if (bytes === null) return this.refuse();
    if (bytes.length > 0) this.sink.onRequestData(bytes);
  }

  onRequestEnd(trailers: string): void {
    if (this.request !== "") return this.refuse();
    this.sink.onRequestEnd(trailers);
  }

  private refuse(): void {
    const why = "the body of an application/grpc-web-text request is not base64";
    this.sink.onRequestError(new ProxyError("bad-request", why));
  }

  onRequestError(error: ProxyError): void {
    this.sink.onRequestError(error);
  }

  onCallerGone(error: Error | null): void {
    this.sink.onCallerGone(error);
  }

  onCallerReady(): void {
    this.sink.onCallerReady();
  }

  onTurnEnd(): void {
    this.sink.onTurnEnd();
  }

  // === impl Downstream ===

  attach(sink: RequestSink): void {
    this.sink = sink;
  }

  sendInformational(head: ResponseHead): void {
    this.inner.sendInformational(head);
  }

  sendHead(head: ResponseHead, extra: string): void {
    const type = head.headers.get("content-type");
    if (type !== undefined && type.startsWith("application/grpc")) {
      head.headers.set("content-type", this.answerType);
      // an answer of trailers only is a head alone here too
      this.isTranslated = head.framing !== "length" || head.contentLength !== 0;
      if (this.isTranslated) {
        head.framing = "chunked";
        head.contentLength = -1;
      }
    }
    this.inner.sendHead(head, extra);
  }

  sendData(chunk: Buffer): boolean {
    if (!this.isTranslated || !this.writesText) return this.inner.sendData(chunk);
    const bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    const whole = bytes.length - (bytes.length % 3);
    this.rest = Buffer.from(bytes.subarray(whole));
    if (whole === 0) return true;
    return this.inner.sendData(Buffer.from(bytes.toString("base64", 0, whole), "latin1"));
  }

  sendEnd(trailers: string): void {
    if (!this.isTranslated) return this.inner.sendEnd(trailers);
    const head = Buffer.alloc(5);
    head[0] = TRAILERS;
    head.writeUInt32BE(trailers.length, 1);
    this.sendData(Buffer.concat([head, Buffer.from(trailers, "latin1")]));
    this.pad();
    this.inner.sendEnd("");
  }

  /** Ends the base64 of what has come so far: the caller must not wait for the next message to read this one. */
  private pad(): void {
    if (this.deferred !== null) clearImmediate(this.deferred);
    this.deferred = null;
    if (this.rest.length > 0)
      this.inner.sendData(Buffer.from(this.rest.toString("base64"), "latin1"));
    this.rest = Buffer.alloc(0);
  }

  flush(): void {
    this.inner.flush();
    // the rest of the turn may bring the octets that make padding needless
    if (this.rest.length > 0)
      this.deferred ??= setImmediate(() => {
        this.pad();
        this.inner.flush();
      });
  }

  abort(): void {
    if (this.deferred !== null) clearImmediate(this.deferred);
    this.inner.abort();
  }

  pause(): void {
    this.inner.pause();
  }

  resume(): void {
    this.inner.resume();
  }

  closeAfter(): void {
    this.inner.closeAfter();
  }

  takeOver(): null {
    return null;
  }
}
