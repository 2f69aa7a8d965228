/** Takes the secrets out of a configuration before anybody sees it. What is not known to be harmless is hidden. */

/** What stands where a secret was. */
export const hidden = "***";

/** Names whose values are secrets wherever they stand (compared without case, `-` and `_`). */
const secretNames = new Set([
  "secret",
  "clientsecret",
  "password",
  "passwd",
  "passphrase",
  "token",
  "accesstoken",
  "refreshtoken",
  "bearer",
  "apikey",
  "privatekey",
  "signingkey",
  "credential",
  "credentials",
  "authorization",
  "proxyauthorization",
  "setcookie",
]);

/** Private members of a JWK (RFC 7518 section 6). */
const privateMembers = new Set(["d", "p", "q", "dp", "dq", "qi", "k", "oth"]);

/** Plugin options that are the name of something, though they are called like a secret. */
const namesNotSecrets = new Set(["header", "cookie", "query", "consumerclaim"]);

/**
 * A deep copy without secrets: values under secret names, `keys`, the user part of URLs, and private PEM blocks.
 * @param value plain data
 */
export function redact(value: unknown): unknown {
  return copy(value, "");
}

function copy(value: unknown, name: string): unknown {
  if (typeof value === "string") return text(value);
  if (Array.isArray(value)) {
    if (name === "keys")
      return value.map((item) => (typeof item === "string" ? keyText(item) : copy(item, "")));
    return value.map((item) => copy(item, name));
  }
  if (typeof value !== "object" || value === null) return value;
  const isJwk = "kty" in value;
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    result[key] =
      isSecret(key, item) || (isJwk && privateMembers.has(key)) ? hidden : copy(item, key);
  }
  return result;
}

function isSecret(key: string, value: unknown): boolean {
  if (value === null || value === "" || typeof value === "boolean") return false;
  const plain = key.toLowerCase().replace(/[-_]/g, "");
  if (namesNotSecrets.has(plain)) return false;
  return (
    secretNames.has(plain) ||
    plain.endsWith("secret") ||
    plain.endsWith("password") ||
    plain.endsWith("token") ||
    plain.endsWith("apikey")
  );
}

/** An entry of a list called `keys`: files and public keys may be seen, hashes and the rest may not. */
function keyText(value: string): string {
  if (
    value.startsWith("-----BEGIN PUBLIC KEY-----") ||
    value.startsWith("-----BEGIN CERTIFICATE-----")
  )
    return value;
  if (/^[./][^\n]*\.(pem|crt|key|pub|json)$/.test(value)) return value;
  return value.startsWith("sha256:") ? `sha256:${hidden}` : hidden;
}

const urlUser = /([a-z][a-z0-9+.-]*:\/\/)[^/?#\s@]*@/gi;
const privatePem =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g;

function text(value: string): string {
  return value.replace(urlUser, `$1${hidden}@`).replace(privatePem, hidden);
}
