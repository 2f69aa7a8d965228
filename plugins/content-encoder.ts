/** Content encodings: which one a caller wants (RFC 9110 section 12.5.3), and a compressor for one answer. */

import { constants, createBrotliCompress, createGzip, createZstdCompress } from "node:zlib";
import type { BrotliCompress, Gzip, ZstdCompress } from "node:zlib";

/** In the order of preference when a caller likes them equally. */
export const encodings = ["br", "zstd", "gzip"] as const;
export type Encoding = (typeof encodings)[number];

/** The best of `offered` by the caller's q-values; null: send it as it is. */
export function chooseEncoding(
  accept: string | undefined,
  offered: readonly Encoding[],
): Encoding | null {
  if (accept === undefined || accept === "") return null;
  const weights = parseWeights(accept);
  const any = weights.get("*");
  let best: Encoding | null = null;
  let bestWeight = 0;
  for (const encoding of offered) {
    const weight =
      weights.get(encoding) ??
      (encoding === "gzip" ? weights.get("x-gzip") : undefined) ??
      any ??
      0;
    if (weight > bestWeight) {
      best = encoding;
      bestWeight = weight;
    }
  }
  return (weights.get("identity") ?? 0) > bestWeight ? null : best;
}

function parseWeights(accept: string): Map<string, number> {
  const weights = new Map<string, number>();
  for (const part of accept.split(",")) {
    const [name, ...parameters] = part.split(";");
    const q = parameters
      .map((parameter) => /^\s*q\s*=\s*(\d(?:\.\d*)?)\s*$/i.exec(parameter)?.[1])
      .find(Boolean);
    const token = name!.trim().toLowerCase();
    if (token !== "") weights.set(token, q === undefined ? 1 : Math.min(1, Number(q)));
  }
  return weights;
}

/** Compresses one body, off the main thread. */
export class ContentEncoder {
  private readonly stream: BrotliCompress | Gzip | ZstdCompress;
  /** A body of unknown length may be a live one: each chunk must reach the caller at once. */
  private readonly flushes: boolean;
  private output: Uint8Array[] = [];
  private pending: {
    readonly resolve: (bytes: Uint8Array) => void;
    readonly reject: (error: Error) => void;
  } | null = null;

  /** @param contentLength bytes before compression; -1: unknown */
  constructor(encoding: Encoding, contentLength: number) {
    this.flushes = contentLength === -1;
    this.stream = createStream(encoding, contentLength);
    this.stream.on("data", (chunk: Uint8Array) => this.output.push(chunk));
    this.stream.on("end", () => this.settle());
    this.stream.on("error", (error) => this.settle(error));
  }

  /** Resolves with what has come out so far, perhaps nothing. The chunk is not read after the promise settles. */
  encode(chunk: Uint8Array, last: boolean): Promise<Uint8Array> {
    const { stream } = this;
    return new Promise((resolve, reject) => {
      this.pending = { resolve, reject };
      if (last) stream.end(chunk.length === 0 ? undefined : Buffer.from(chunk));
      else {
        stream.write(Buffer.from(chunk), (error) => {
          if (this.flushes && !error) stream.flush(() => this.settle());
          else this.settle(error);
        });
      }
    });
  }

  private settle(error?: Error | null): void {
    const { pending } = this;
    this.pending = null;
    if (error) pending?.reject(error);
    else pending?.resolve(this.take());
  }

  /** What waits is let go with nothing: a caller who left is no failure of the plugin. */
  destroy(): void {
    this.settle();
    this.stream.destroy();
  }

  private take(): Uint8Array {
    const { output } = this;
    this.output = [];
    return output.length === 1 ? output[0]! : Buffer.concat(output);
  }
}

/** Levels at which compression costs about as much as the rest of an exchange, not ten times as much. */
function createStream(
  encoding: Encoding,
  contentLength: number,
): BrotliCompress | Gzip | ZstdCompress {
  switch (encoding) {
    case "br":
      return createBrotliCompress({
        params: {
          [constants.BROTLI_PARAM_QUALITY]: 4,
          [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
          ...(contentLength > 0 ? { [constants.BROTLI_PARAM_SIZE_HINT]: contentLength } : {}),
        },
      });
    case "zstd":
      return createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 3 } });
    case "gzip":
      return createGzip({ level: 6 });
  }
}
