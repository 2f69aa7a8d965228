/** Texts that only this configuration can read or make: AES-256-GCM under keys derived from its secrets. */

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

const nonceBytes = 12;
const tagBytes = 16;

/** What was sealed, and whether it was with a secret that is on its way out. */
export interface OpenedText {
  readonly text: string;
  readonly isOld: boolean;
}

/** Seals with the first secret and opens with any of them, so that secrets can be changed without logging anyone out. */
export class Sealer {
  private readonly keys: readonly Buffer[];
  private readonly purpose: Buffer;

  /** @param purpose texts sealed for another one cannot be opened: keys are derived for it (HKDF, RFC 5869) */
  constructor(secrets: readonly string[], purpose: string) {
    this.keys = secrets.map((secret) => Buffer.from(hkdfSync("sha256", secret, "", purpose, 32)));
    this.purpose = Buffer.from(purpose);
  }

  /** Base64url. */
  seal(text: string): string {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv("aes-256-gcm", this.keys[0]!, nonce, { authTagLength: tagBytes });
    cipher.setAAD(this.purpose);
    const body = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
    return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString("base64url");
  }

  /** Null: not ours, or not as we made it. */
  open(sealed: string): OpenedText | null {
    if (!/^[\w-]+$/.test(sealed)) return null;
    const bytes = Buffer.from(sealed, "base64url");
    if (bytes.length < nonceBytes + tagBytes) return null;
    for (const [index, key] of this.keys.entries()) {
      const text = this.tryKey(key, bytes);
      if (text !== null) return { text, isOld: index > 0 };
    }
    return null;
  }

  private tryKey(key: Buffer, bytes: Buffer): string | null {
    const nonce = bytes.subarray(0, nonceBytes);
    const options = { authTagLength: tagBytes };
    const decipher = createDecipheriv("aes-256-gcm", key, nonce, options);
    decipher.setAAD(this.purpose);
    decipher.setAuthTag(bytes.subarray(-tagBytes));
    try {
      const body = decipher.update(bytes.subarray(nonceBytes, -tagBytes));
      return Buffer.concat([body, decipher.final()]).toString("utf8");
    } catch {
      return null;
    }
  }
}
