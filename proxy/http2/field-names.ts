/** Field names and field lines as HPACK carries them, judged once when they are first seen and not again per request. */

import { classes, kindOf, TARGET, TOKEN } from "../http1/scan.ts";

/** Pseudo-header fields (RFC 9113 section 8.3, RFC 8441); 0: a regular field. */
export const Pseudo = {
  none: 0,
  method: 1,
  scheme: 2,
  authority: 3,
  path: 4,
  protocol: 5,
  status: 6,
  unknown: 7,
} as const;

const pseudoOf: Readonly<Record<string, number>> = {
  ":method": Pseudo.method,
  ":scheme": Pseudo.scheme,
  ":authority": Pseudo.authority,
  ":path": Pseudo.path,
  ":protocol": Pseudo.protocol,
  ":status": Pseudo.status,
};

/** Names whose values are never indexed, whoever sends them (RFC 7541 section 7.1.3). */
export const secretNames: readonly string[] = [
  "authorization",
  "proxy-authorization",
  "cookie",
  "set-cookie",
];

/** A field name. */
export class Name {
  readonly text: string;
  /** One of {@link Pseudo}. */
  readonly pseudo: number;
  /** One of `Kind` of http/fields.ts. */
  readonly kind: number;
  readonly isCookie: boolean;
  /** One of {@link secretNames}. */
  readonly isSecret: boolean;
  /** Why a message with it is malformed; null: it is fine. */
  readonly fault: string | null;
  /** `name: `, the start of its line. */
  readonly lead: string;

  constructor(text: string) {
    this.text = text;
    this.lead = `${text}: `;
    this.isCookie = text === "cookie";
    this.isSecret = secretNames.includes(text);
    if (text.charCodeAt(0) === 58) {
      this.pseudo = pseudoOf[text] ?? Pseudo.unknown;
      this.kind = 0;
      this.fault = this.pseudo === Pseudo.unknown ? "an unknown pseudo-header field" : null;
      return;
    }
    this.pseudo = Pseudo.none;
    this.fault = faultOfName(text);
    const bytes = Buffer.from(text, "latin1");
    this.kind = this.fault === null ? kindOf(bytes, 0, bytes.length) : 0;
  }
}

/** RFC 9113 section 8.2.1. */
function faultOfName(text: string): string | null {
  if (text.length === 0) return "an empty field name";
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 65 && c <= 90) return "an upper-case letter in a field name";
    if ((classes[c]! & TOKEN) === 0)
      return `character 0x${c.toString(16).padStart(2, "0")} in a field name`;
  }
  return null;
}

/** Names seen so far. */
const known = new Map<string, Name>();
const KNOWN_MAX = 2048;
const KNOWN_LENGTH = 64;

export function nameOf(text: string): Name {
  let name = known.get(text);
  if (name === undefined) {
    name = new Name(text);
    if (text.length <= KNOWN_LENGTH) {
      // strangers invent names: what they wash out is judged again
      if (known.size >= KNOWN_MAX) known.clear();
      known.set(text, name);
    }
  }
  return name;
}

/** A field line, as the tables of HPACK hold it. */
export class Line {
  readonly name: Name;
  readonly value: string;
  /** `name: value` and CRLF. */
  readonly text: string;
  /** RFC 7541 section 4.1: octets of both plus 32. */
  readonly size: number;
  /** Why a message with it is malformed; null: it is fine. */
  readonly fault: string | null;
  /** It came as a literal that nobody may index, and must go on as one (RFC 7541 section 6.2.3); its name alone does not say so. */
  isSecret = false;

  constructor(name: Name, value: string) {
    this.name = name;
    this.value = value;
    this.text = name.lead + value + "\r\n";
    this.size = name.text.length + value.length + 32;
    this.fault = name.fault ?? faultOfValue(name, value);
  }
}

/** RFC 9113 section 8.2.1: no control characters, no white space around; more for what becomes a request line. */
function faultOfValue(name: Name, value: string): string | null {
  const { length } = value;
  if (name.pseudo === Pseudo.path || name.pseudo === Pseudo.method) {
    const wanted = name.pseudo === Pseudo.path ? TARGET : TOKEN;
    if (length === 0) return `an empty ${name.text}`;
    for (let i = 0; i < length; i++)
      if ((classes[value.charCodeAt(i)]! & wanted) === 0)
        return `character 0x${value.charCodeAt(i).toString(16).padStart(2, "0")} in ${name.text}`;
    return null;
  }
  for (let i = 0; i < length; i++) {
    const c = value.charCodeAt(i);
    if ((c < 32 && c !== 9) || c === 127)
      return `control character 0x${c.toString(16).padStart(2, "0")} in the value of ${name.text}`;
  }
  if (length === 0) return null;
  const first = value.charCodeAt(0);
  const last = value.charCodeAt(length - 1);
  if (first === 32 || first === 9 || last === 32 || last === 9)
    return `white space around the value of ${name.text}`;
  return null;
}
