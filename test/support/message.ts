/** A second, deliberately plain reading of HTTP/1.1 messages, to check weft's own against. */

/** One message with its body unframed. */
export interface Message {
  /** Request line or status line. */
  readonly start: string;
  /** As received, in order. */
  readonly fields: readonly (readonly [string, string])[];
  readonly body: string;
  readonly trailers: readonly (readonly [string, string])[];
  /** Number of characters read. */
  readonly length: number;
}

/** What the reader cannot see in the message itself. */
export interface ReadOptions {
  /** The answer has no body whatever its fields say (HEAD). */
  readonly noBody?: boolean;
  /** Nothing follows `text`: a body without framing ends with it. */
  readonly ended?: boolean;
}

/** Reads one message from the start of `text`; null when it is not whole yet. Throws on broken framing. */
export function readMessage(text: string, options: ReadOptions = {}): Message | null {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return null;
  const [start = "", ...lines] = text.slice(0, end).split("\r\n");
  const fields = lines.map(readField);
  const isResponse = start.startsWith("HTTP/");
  const status = isResponse ? Number(start.split(" ")[1]) : 0;
  const from = end + 4;
  const whole = (body: string, length: number, trailers: Message["trailers"] = []): Message => ({
    start,
    fields,
    body,
    trailers,
    length,
  });
  if (options.noBody || (isResponse && (status < 200 || status === 204 || status === 304)))
    return whole("", from);
  const coding = valueOf(fields, "transfer-encoding");
  if (coding !== undefined) {
    if (coding.toLowerCase() !== "chunked") throw new Error(`transfer-encoding ${coding}`);
    return readChunked(text, from, whole);
  }
  const given = valueOf(fields, "content-length");
  if (given !== undefined) {
    const length = Number(given);
    if (!/^\d+$/.test(given)) throw new Error(`content-length ${given}`);
    return text.length < from + length
      ? null
      : whole(text.slice(from, from + length), from + length);
  }
  if (!isResponse) return whole("", from);
  return options.ended ? whole(text.slice(from), text.length) : null;
}

function readChunked(
  text: string,
  from: number,
  whole: (body: string, length: number, trailers: Message["trailers"]) => Message,
): Message | null {
  let at = from;
  let body = "";
  for (;;) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd === -1) return null;
    const size = text.slice(at, lineEnd).split(";")[0]!;
    if (!/^[0-9a-fA-F]+$/.test(size)) throw new Error(`chunk size ${JSON.stringify(size)}`);
    const length = Number.parseInt(size, 16);
    at = lineEnd + 2;
    if (length === 0) break;
    if (text.length < at + length + 2) return null;
    body += text.slice(at, at + length);
    if (text.slice(at + length, at + length + 2) !== "\r\n") throw new Error("chunk without CRLF");
    at += length + 2;
  }
  if (text.startsWith("\r\n", at)) return whole(body, at + 2, []);
  const end = text.indexOf("\r\n\r\n", at);
  if (end === -1) return null;
  return whole(body, end + 4, text.slice(at, end).split("\r\n").map(readField));
}

function readField(line: string): [string, string] {
  const colon = line.indexOf(":");
  if (colon < 1) throw new Error(`field line ${JSON.stringify(line)}`);
  return [line.slice(0, colon), line.slice(colon + 1).trim()];
}

/** Value of a field, several joined with `, `; undefined when absent. `name` in lower case. */
export function valueOf(fields: Message["fields"], name: string): string | undefined {
  const found = fields.filter(([each]) => each.toLowerCase() === name).map(([, value]) => value);
  return found.length === 0 ? undefined : found.join(", ");
}

/** Status of an answer. */
export function statusOf(message: Message): number {
  return Number(message.start.split(" ")[1]);
}
