/** The field section of a head: one latin1 string with offsets into it, and an overlay for what plugins change. */

const framing = new Set([
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "upgrade",
]);

/** A field name prepared once, at setup, so that no request lower-cases it again. */
export class FieldName {
  /** As it will be sent when a plugin sets it. */
  readonly name: string;
  readonly lower: string;
  /** Written by weft alone: it decides where a message ends. */
  readonly isFraming: boolean;
  constructor(name: string) {
    if (!isToken(name)) throw new TypeError(`not a field name: ${JSON.stringify(name)}`);
    this.name = name;
    this.lower = name.toLowerCase();
    this.isFraming = framing.has(this.lower);
  }
}

/** Fields that the data path itself looks at; stored per field while parsing. 0 is "any other". */
export const Kind = {
  other: 0,
  host: 1,
  contentLength: 2,
  transferEncoding: 3,
  connection: 4,
  keepAlive: 5,
  proxyConnection: 6,
  te: 7,
  trailer: 8,
  upgrade: 9,
  expect: 10,
  /** x-forwarded-for, -proto, -host and other x-forwarded-*; forwarded; x-real-ip stays "other". */
  forwarded: 11,
  xForwardedFor: 12,
  xForwardedProto: 13,
  xForwardedHost: 14,
  requestId: 15,
  traceparent: 16,
  tracestate: 17,
  via: 18,
  /** x-weft-*: always removed from outside. */
  weft: 19,
  /** x-envoy-*, x-request-timeout-ms, l5d-*, grpc-timeout: honoured from trusted callers, stripped at the edge. */
  control: 20,
  grpcTimeout: 21,
  /** Named by a Connection field of this hop: never forwarded. */
  named: 22,
  date: 23,
  server: 24,
  proxyAuthenticate: 25,
  idempotencyKey: 26,
  /** A name with `_`: dropped at the edge, where it could pass for the same name with `-`. */
  underscore: 27,
  /** x-envoy-expected-rq-timeout-ms, x-request-timeout-ms: what is left of a caller's deadline. */
  deadline: 28,
  /** b3, x-b3-*: the trace context of Zipkin and its kin. */
  b3: 29,
} as const;

interface Edit {
  readonly lower: string;
  /** Null: nothing takes the place of what is removed. */
  readonly name: string | null;
  readonly value: string;
  /** The received fields of this name do not go on. */
  readonly replaces: boolean;
}

const NO_OFFSETS = new Int32Array(0);
const NO_KINDS = new Uint8Array(0);

/**
 * Read access to the fields as received, in order, with duplicates and case kept, and edits over them.
 * Framing fields (Content-Length, Transfer-Encoding, Connection and other hop-by-hop fields) can be read, never written.
 */
export class Fields {
  /** The text that the offsets point into. */
  raw = "";
  /** Per field: name start, name end, value start, value end. */
  offsets: Int32Array = NO_OFFSETS;
  /** Per field: one of {@link Kind}. */
  kinds: Uint8Array = NO_KINDS;
  count = 0;
  /** Removals and additions by plugins; null until the first. */
  edits: Edit[] | null = null;
  /** Positions of fields that no table of HPACK on the way may keep (RFC 7541 section 6.2.3); null: there are none. */
  secrets: number[] | null = null;

  /** The value, several joined with `, `; undefined when absent. */
  get(name: string | FieldName): string | undefined {
    const lower = typeof name === "string" ? name.toLowerCase() : name.lower;
    let found: string | undefined;
    if (this.edits === null || !this.isReplaced(lower)) {
      for (let i = 0; i < this.count; i++) {
        if (this.kinds[i] !== Kind.named && this.nameIs(i, lower)) {
          const value = this.valueAt(i);
          found = found === undefined ? value : `${found}, ${value}`;
        }
      }
    }
    if (this.edits !== null) {
      for (const edit of this.edits) {
        if (edit.name !== null && edit.lower === lower)
          found = found === undefined ? edit.value : `${found}, ${edit.value}`;
      }
    }
    return found;
  }

  /** Every value of the name, in order. */
  getAll(name: string | FieldName): string[] {
    const lower = typeof name === "string" ? name.toLowerCase() : name.lower;
    const values: string[] = [];
    if (this.edits === null || !this.isReplaced(lower)) {
      for (let i = 0; i < this.count; i++)
        if (this.kinds[i] !== Kind.named && this.nameIs(i, lower)) values.push(this.valueAt(i));
    }
    for (const edit of this.edits ?? [])
      if (edit.name !== null && edit.lower === lower) values.push(edit.value);
    return values;
  }

  has(name: string | FieldName): boolean {
    return this.get(name) !== undefined;
  }

  /** Replaces every field of that name. Throws a TypeError on a bad name, a bad value or a framing field. */
  set(name: string | FieldName, value: string): void {
    const field = writable(name, value);
    this.forget(field.lower);
    this.edits!.push({ lower: field.lower, name: field.name, value, replaces: true });
  }

  /** Adds one more field of that name. */
  append(name: string | FieldName, value: string): void {
    const field = writable(name, value);
    this.edits ??= [];
    this.edits.push({ lower: field.lower, name: field.name, value, replaces: false });
  }

  delete(name: string | FieldName): void {
    const { lower } = name instanceof FieldName && !name.isFraming ? name : writable(name, "");
    this.forget(lower);
    this.edits!.push({ lower, name: null, value: "", replaces: true });
  }

  /** Materialises everything: the only costly call here. Names lower-cased. */
  *entries(): IterableIterator<[string, string]> {
    for (let i = 0; i < this.count; i++) {
      if (this.kinds[i] !== Kind.named && !this.isReplacedAt(i))
        yield [this.nameAt(i).toLowerCase(), this.valueAt(i)];
    }
    for (const edit of this.edits ?? []) if (edit.name !== null) yield [edit.lower, edit.value];
  }

  [Symbol.iterator](): IterableIterator<[string, string]> {
    return this.entries();
  }

  /** The i-th field's name as received. */
  nameAt(i: number): string {
    return this.raw.slice(this.offsets[i * 4]!, this.offsets[i * 4 + 1]!);
  }

  /** The i-th field's value as received, without surrounding white space. */
  valueAt(i: number): string {
    return this.raw.slice(this.offsets[i * 4 + 2]!, this.offsets[i * 4 + 3]!);
  }

  /** True when a plugin removed or replaced the received fields of this name. */
  isReplaced(lower: string): boolean {
    if (this.edits === null) return false;
    for (const edit of this.edits) if (edit.replaces && edit.lower === lower) return true;
    return false;
  }

  /** The same for the i-th field, without a copy of its name. */
  isReplacedAt(i: number): boolean {
    const { edits } = this;
    if (edits === null) return false;
    for (let k = 0; k < edits.length; k++) {
      const edit = edits[k]!;
      if (edit.replaces && this.nameIs(i, edit.lower)) return true;
    }
    return false;
  }

  /** Case-insensitive compare without a copy. `lower` must be lower case. */
  nameIs(i: number, lower: string): boolean {
    return this.isAt(this.offsets[i * 4]!, this.offsets[i * 4 + 1]!, lower);
  }

  /** The same for the value. */
  valueIs(i: number, lower: string): boolean {
    return this.isAt(this.offsets[i * 4 + 2]!, this.offsets[i * 4 + 3]!, lower);
  }

  private isAt(start: number, end: number, lower: string): boolean {
    if (end - start !== lower.length) return false;
    const raw = this.raw;
    for (let j = 0; j < lower.length; j++) {
      let c = raw.charCodeAt(start + j);
      if (c >= 65 && c <= 90) c |= 32;
      if (c !== lower.charCodeAt(j)) return false;
    }
    return true;
  }

  /** Drops earlier edits of this name. */
  private forget(lower: string): void {
    if (this.edits === null) {
      this.edits = [];
      return;
    }
    for (const edit of this.edits) {
      if (edit.lower !== lower) continue;
      this.edits = this.edits.filter((other) => other.lower !== lower);
      return;
    }
  }
}

/** Builds a field section from pairs: for answers of our own and for tests. */
export function fieldsFrom(pairs: Iterable<readonly [string, string]>): Fields {
  const fields = new Fields();
  for (const [name, value] of pairs) fields.append(name, value);
  return fields;
}

function writable(name: string | FieldName, value: string): FieldName {
  const field = typeof name === "string" ? new FieldName(name) : name;
  if (field.isFraming)
    throw new TypeError(`${field.lower} is written by weft alone: it decides the framing`);
  if (!isFieldValue(value))
    throw new TypeError(`value of ${field.lower} has a control character or one above U+00FF`);
  return field;
}

/** RFC 9110 section 5.6.2: token. */
export function isToken(text: string): boolean {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text);
}

/** RFC 9110 section 5.5: no CR, LF, NUL or other control character but TAB; latin1 only, since that is what goes on the wire. */
export function isFieldValue(text: string): boolean {
  // oxlint-disable-next-line no-control-regex -- control characters are what this looks for
  return !/[\u0000-\u0008\u000a-\u001f\u007f]|[^\u0000-\u00ff]/.test(text);
}
