/** The files of a listener's TLS block, read whole or refused with the file's name. */

import { readFile } from "node:fs/promises";
import { TlsContexts, TlsMaterialError, type TlsMaterial } from "../proxy/listen/tls.ts";

/** A listener's `tls` as in the configuration; absolute paths. */
export interface TlsFiles {
  readonly certificates: readonly { readonly cert: string; readonly key: string }[];
  readonly clientAuth: { readonly ca: string; readonly mode: "require" | "optional" } | null;
}

/**
 * Reads what {@link TlsContexts} is made of. Rejects with {@link TlsMaterialError}, whose `where` is the place below `tls`.
 * @param ticketKeys 48 bytes shared by all workers; null: this thread's own
 */
export async function readTlsFiles(
  files: TlsFiles,
  ticketKeys: Buffer | null,
): Promise<TlsMaterial> {
  const certificates = await Promise.all(
    files.certificates.map(async ({ cert, key }, index) => ({
      cert: await read(cert, ["certificates", index, "cert"]),
      key: await read(key, ["certificates", index, "key"]),
    })),
  );
  const { clientAuth } = files;
  const ca = clientAuth === null ? null : await read(clientAuth.ca, ["clientAuth", "ca"]);
  return {
    certificates,
    clientAuth: clientAuth === null || ca === null ? null : { ca, mode: clientAuth.mode },
    ticketKeys,
  };
}

/** Reads and compiles; for `check` and for the first start. Rejects with {@link TlsMaterialError}. */
export async function openTls(files: TlsFiles, ticketKeys: Buffer | null): Promise<TlsContexts> {
  return new TlsContexts(await readTlsFiles(files, ticketKeys));
}

async function read(file: string, where: readonly (string | number)[]): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === "ENOENT" ? "there is no such file" : code;
    throw new TlsMaterialError(where, `cannot read ${file}: ${why}`, error);
  }
}
