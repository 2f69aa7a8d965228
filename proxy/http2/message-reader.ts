/** Decoded field lines to heads and trailers, with every rule of RFC 9113 section 8: what is malformed never becomes HTTP/1.1. */

import { randomBytes } from "node:crypto";
import { type Fields, Kind } from "../http/fields.ts";
import type { RequestHead, ResponseHead } from "../http/head.ts";
import { readAuthority } from "../http/target.ts";
import { forbiddenTrailers } from "../http1/chunked.ts";
import type { HeadLimits } from "../http1/head.ts";
import { claimArrays, growArrays } from "../http1/scan.ts";
import { type Line, Pseudo } from "./field-names.ts";
import type { LineSink } from "./hpack-decoder.ts";

/** What became of a block: fine, malformed (stream error PROTOCOL_ERROR), or more than the limits allow (431). */
export type Verdict = "ok" | "malformed" | "too-large";

/** Bytes and fields of trailers, as for HTTP/1.1. */
const trailerLimits: HeadLimits = { headerBytes: 8 * 1024, headerCount: 64 };

/** Builds the text and offsets that the rest of the proxy works on. One of its kind per thread: decoding is never interrupted. */
class FieldReader {
  protected fields!: Fields;
  protected limits!: HeadLimits;
  protected raw = "";
  protected size = 0;
  protected fault: string | null = null;
  protected isTooLarge = false;
  protected sawRegular = false;
  protected length = -1;
  /** Why the last verdict was not `ok`: a plain sentence. */
  failure = "";

  protected start(fields: Fields, limits: HeadLimits): void {
    claimArrays(fields);
    fields.count = 0;
    this.fields = fields;
    this.limits = limits;
    this.raw = "";
    this.size = 0;
    this.fault = null;
    this.isTooLarge = false;
    this.sawRegular = false;
    this.length = -1;
  }

  /** Counts the line against the limits; false: it is dropped, and the table alone remembers it. */
  protected fits(line: Line): boolean {
    this.size += line.size;
    if (this.size > this.limits.headerBytes || this.fields.count >= this.limits.headerCount)
      this.isTooLarge = true;
    return !this.isTooLarge;
  }

  protected add(text: string, nameLength: number, kind: number): void {
    const { fields } = this;
    const i = fields.count;
    if (i === fields.kinds.length) growArrays(fields);
    const { offsets } = fields;
    const at = this.raw.length;
    const o = i * 4;
    offsets[o] = at;
    offsets[o + 1] = at + nameLength;
    offsets[o + 2] = at + nameLength + 2;
    offsets[o + 3] = at + text.length - 2;
    fields.kinds[i] = kind;
    fields.count = i + 1;
    this.raw += text;
  }

  /** RFC 9113 section 8.2.2, and a Content-Length that two readers would not read alike. */
  protected regular(line: Line): void {
    const { name } = line;
    this.sawRegular = true;
    switch (name.kind) {
      case Kind.connection:
      case Kind.keepAlive:
      case Kind.proxyConnection:
      case Kind.transferEncoding:
      case Kind.upgrade:
        this.fault ??= `the connection-specific field ${name.text}`;
        return;
      case Kind.te:
        if (line.value.toLowerCase() !== "trailers") {
          this.fault ??= "a TE field that says more than trailers";
          return;
        }
        break;
      case Kind.contentLength: {
        const length = toLength(line.value);
        if (length < 0) this.fault ??= "Content-Length is not a plain decimal number";
        else if (this.length >= 0) this.fault ??= "more than one Content-Length field";
        this.length = length;
        break;
      }
    }
    if (line.isSecret) (this.fields.secrets ??= []).push(this.fields.count);
    this.add(line.text, name.text.length, name.kind);
  }

  protected verdict(): Verdict {
    if (this.fault !== null) {
      this.failure = this.fault;
      return "malformed";
    }
    if (!this.isTooLarge) return "ok";
    const { headerBytes, headerCount } = this.limits;
    this.failure =
      this.size > headerBytes
        ? `head larger than ${headerBytes} bytes`
        : `more than ${headerCount} header fields`;
    return "too-large";
  }
}

/** Digits only, up to 15 of them; -1 otherwise. */
function toLength(value: string): number {
  if (value.length === 0 || value.length > 15) return -1;
  let n = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    n = n * 10 + digit;
  }
  return n;
}

/** The last :authority read, what it means, and its Host line: one caller mostly repeats one. */
const authority = { authority: "", host: "" };
let readAs = "";
let hostLine = "host: \r\n";

/** Null, or why it is refused. */
function readOnce(text: string): string | null {
  if (text === readAs) return null;
  const refusal = readAuthority(authority, text);
  readAs = refusal === null ? text : "";
  if (refusal !== null) authority.authority = authority.host = "";
  hostLine = `host: ${authority.authority}\r\n`;
  return refusal;
}

function sameAuthority(a: string, b: string): boolean {
  return a === b || a.replace(/:(80|443)$/, "") === b.replace(/:(80|443)$/, "");
}

/** Reads the head of a request. */
class RequestReader extends FieldReader implements LineSink {
  private head!: RequestHead;
  private method = "";
  private scheme = "";
  private authority: string | null = null;
  private path = "";
  private protocol = "";
  private seen = 0;
  private host: string | null = null;
  private cookies = "";

  begin(head: RequestHead, limits: HeadLimits): void {
    this.start(head.headers, limits);
    this.head = head;
    this.method = this.scheme = this.path = this.protocol = this.cookies = "";
    this.authority = this.host = null;
    this.seen = 0;
  }

  onLine(line: Line): void {
    if (!this.fits(line)) return;
    if (line.fault !== null) {
      this.fault ??= line.fault;
      return;
    }
    const { name } = line;
    if (name.pseudo !== Pseudo.none) return this.pseudo(name.pseudo, line);
    if (name.kind === Kind.host) {
      this.sawRegular = true;
      if (this.host !== null) this.fault ??= "more than one Host field";
      this.host = line.value;
    } else if (name.isCookie) {
      // RFC 9113 section 8.2.3: one field again before it reaches HTTP/1.1
      this.sawRegular = true;
      this.cookies = this.cookies === "" ? line.value : `${this.cookies}; ${line.value}`;
    } else {
      if (name.kind === Kind.expect) {
        if (line.value.toLowerCase() === "100-continue") this.head.expectContinue = true;
        else this.fault ??= "unknown expectation in Expect";
      }
      this.regular(line);
    }
  }

  private pseudo(which: number, line: Line): void {
    if (this.sawRegular) this.fault ??= `${line.name.text} after a regular field`;
    const bit = 1 << which;
    if ((this.seen & bit) !== 0) this.fault ??= `more than one ${line.name.text}`;
    this.seen |= bit;
    switch (which) {
      case Pseudo.method:
        this.method = line.value;
        break;
      case Pseudo.scheme:
        this.scheme = line.value;
        break;
      case Pseudo.authority:
        this.authority = line.value;
        break;
      case Pseudo.path:
        this.path = line.value;
        break;
      case Pseudo.protocol:
        this.protocol = line.value;
        break;
      default:
        this.fault ??= `${line.name.text} in a request`;
    }
  }

  /** @param isWhole the stream has ended with this block: no body */
  finish(isWhole: boolean): Verdict {
    const { head } = this;
    head.method = this.method;
    head.version = 20;
    if (this.fault === null && !this.isTooLarge) this.fault = this.judge(isWhole);
    const { fields } = this;
    if (this.cookies !== "") this.add(`cookie: ${this.cookies}\r\n`, 6, Kind.other);
    if (head.authority !== "") this.add(hostLine, 4, Kind.host);
    fields.raw = `${this.raw}\r\n`;
    return this.verdict();
  }

  /** RFC 9113 section 8.3.1, RFC 8441 section 4. */
  private judge(isWhole: boolean): string | null {
    const { head, method, scheme, path } = this;
    if (method === "") return "no :method";
    if (this.protocol !== "" && method !== "CONNECT") return "a :protocol without CONNECT";
    if (method === "CONNECT" && this.protocol === "") {
      if (scheme !== "" || path !== "") return "a CONNECT with :scheme or :path";
      if (this.authority === null || !/:\d+$/.test(this.authority))
        return "a CONNECT whose :authority is not host:port";
      head.target = this.authority;
    } else {
      if (scheme === "") return "no :scheme";
      if (scheme !== "http" && scheme !== "https")
        return "a :scheme that is neither http nor https";
      if (path === "") return "no :path";
      if (path.charCodeAt(0) !== 47 && !(path === "*" && method === "OPTIONS"))
        return "a :path that is not absolute";
      head.target = path;
    }
    const named = this.authority ?? this.host;
    if (named === null || named === "") return "neither :authority nor Host";
    const refusal = readOnce(named);
    if (refusal !== null) return refusal;
    if (
      this.host !== null &&
      this.authority !== null &&
      !sameAuthority(this.host.toLowerCase(), authority.authority)
    )
      return "Host differs from :authority";
    head.authority = authority.authority;
    head.host = authority.host;
    if (method === "CONNECT" && this.protocol === "") return this.judgeConnect();
    if (this.protocol === "") return this.judgeLength(isWhole);
    this.judgeExtended();
    return null;
  }

  /** RFC 8441 section 5: to everybody behind us it is the GET with Upgrade that HTTP/1.1 knows. */
  private judgeExtended(): void {
    const { head } = this;
    head.framing = "none";
    head.contentLength = 0;
    if (this.protocol.toLowerCase() !== "websocket") return;
    head.method = "GET";
    head.upgrade = "websocket";
    this.add(`sec-websocket-key: ${randomBytes(16).toString("base64")}\r\n`, 17, Kind.other);
  }

  /** RFC 9113 section 8.5: what follows is a tunnel's, and no body. */
  private judgeConnect(): string | null {
    if (this.length > 0) return "a CONNECT with a Content-Length";
    this.head.framing = "none";
    this.head.contentLength = 0;
    return null;
  }

  /** RFC 9113 section 8.1.1. */
  private judgeLength(isWhole: boolean): string | null {
    const { head, length } = this;
    if (!isWhole) {
      head.framing = length >= 0 ? "length" : "chunked";
      head.contentLength = length;
      return null;
    }
    if (length > 0) return `Content-Length is ${length} and there is no body`;
    // some HTTP/1.1 servers answer 411 to a POST that does not say that it is empty (RFC 9110 section 8.6)
    const says =
      length === 0 || head.method === "POST" || head.method === "PUT" || head.method === "PATCH";
    head.framing = says ? "length" : "none";
    head.contentLength = 0;
    return null;
  }
}

/** Reads the head of an answer. */
class ResponseReader extends FieldReader implements LineSink {
  private head!: ResponseHead;
  private status = 0;

  begin(head: ResponseHead, limits: HeadLimits): void {
    this.start(head.headers, limits);
    this.head = head;
    this.status = 0;
  }

  onLine(line: Line): void {
    if (!this.fits(line)) return;
    if (line.fault !== null) {
      this.fault ??= line.fault;
      return;
    }
    const { name, value } = line;
    if (name.pseudo === Pseudo.none) return this.regular(line);
    if (this.sawRegular) this.fault ??= `${name.text} after a regular field`;
    if (name.pseudo !== Pseudo.status) this.fault ??= `${name.text} in an answer`;
    else if (this.status !== 0) this.fault ??= "more than one :status";
    else if (!/^[1-9]\d\d$/.test(value)) this.fault ??= "a :status that is not three digits";
    else this.status = Number(value);
  }

  /**
   * @param isWhole the stream has ended with this block
   * @param method of the request: it decides about the body
   */
  finish(isWhole: boolean, method: string): Verdict {
    const { head, status, length } = this;
    this.fields.raw = `${this.raw}\r\n`;
    if (this.fault === null && !this.isTooLarge) {
      if (status === 0) this.fault = "no :status";
      else if (status === 101) this.fault = "status 101, which HTTP/2 does not have";
      else if (status < 200 && isWhole) this.fault = "an informational answer that ends the stream";
    }
    head.status = status;
    head.reason = "";
    head.version = 20;
    head.contentLength = length;
    if (method === "HEAD" || status < 200 || status === 204 || status === 304)
      head.framing = "none";
    else if (length >= 0) {
      head.framing = "length";
      if (isWhole && length > 0) this.fault ??= `Content-Length is ${length} and there is no body`;
    } else if (isWhole) {
      head.framing = "length";
      head.contentLength = 0;
    } else head.framing = "chunked";
    return this.verdict();
  }
}

/** Reads trailers. */
class TrailerReader implements LineSink {
  private lines = "";
  private size = 0;
  private count = 0;
  private fault: string | null = null;
  /** Why {@link finish} returned null: a plain sentence. */
  failure = "";

  begin(): void {
    this.lines = "";
    this.size = this.count = 0;
    this.fault = null;
  }

  onLine(line: Line): void {
    this.size += line.size;
    if (this.size > trailerLimits.headerBytes || ++this.count > trailerLimits.headerCount) {
      this.fault ??= `trailers larger than ${trailerLimits.headerBytes} bytes`;
      return;
    }
    const { name } = line;
    if (line.fault !== null) this.fault ??= line.fault;
    else if (name.pseudo !== Pseudo.none) this.fault ??= `${name.text} in the trailers`;
    else if (
      name.kind === Kind.contentLength ||
      name.kind === Kind.transferEncoding ||
      name.kind === Kind.connection ||
      name.kind === Kind.keepAlive ||
      name.kind === Kind.proxyConnection ||
      name.kind === Kind.upgrade ||
      name.kind === Kind.host
    )
      this.fault ??= `${name.text} in the trailers`;
    else if (
      name.kind === Kind.other ||
      name.kind === Kind.grpcTimeout ||
      name.kind === Kind.date
    ) {
      if (!forbiddenTrailers.has(name.text)) this.lines += line.text;
    }
  }

  /** Lines that may be passed on, each ended by CRLF; null: malformed, see {@link failure}. */
  finish(): string | null {
    if (this.fault === null) return this.lines;
    this.failure = this.fault;
    return null;
  }
}

export const requestReader: RequestReader = new RequestReader();
export const responseReader: ResponseReader = new ResponseReader();
export const trailerReader: TrailerReader = new TrailerReader();
