/** A self-signed P-256 certificate for the TLS cases. */

import { spawnSync } from "node:child_process";
import path from "node:path";

/** Writes `bench.crt` and `bench.key` into the folder; null without openssl. */
export function makeCertificate(
  folder: string,
): { readonly cert: string; readonly key: string } | null {
  const cert = path.join(folder, "bench.crt");
  const key = path.join(folder, "bench.key");
  const kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  const files = ["-keyout", key, "-out", cert];
  const made = spawnSync("openssl", [...kind.split(" "), ...names, ...files]);
  return made.status === 0 ? { cert, key } : null;
}
