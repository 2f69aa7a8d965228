/** Reads a request's body up to a limit. */

/**
 * The body as UTF-8 text; null when it has more than `limitBytes`, which is noticed before the rest is read.
 * (Hono's own body limit builds a new Request for a chunked body, which fails on the one that the Node adapter makes.)
 */
export async function readText(request: Request, limitBytes: number): Promise<string | null> {
  if (Number(request.headers.get("content-length") ?? 0) > limitBytes) return null;
  if (request.body === null) return "";
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > limitBytes) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
