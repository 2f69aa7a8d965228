/** Fetches a small document, within a time and a size. */

import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";

/** A document and how long it may be kept. */
export interface FetchedText {
  readonly text: string;
  /** From Cache-Control: max-age; null when it does not say. */
  readonly maxAgeMs: number | null;
}

export interface FetchLimits {
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

const maxRedirects = 3;

/** GET over http or https. Rejects on anything but 200, on a time-out, and on a body over the size. */
export async function fetchText(url: string, limits: FetchLimits): Promise<FetchedText> {
  const signal = AbortSignal.timeout(limits.timeoutMs);
  let target = new URL(url);
  for (let hop = 0; ; hop++) {
    const answer = await get(target, signal, limits.maxBytes);
    if (typeof answer !== "string") return answer;
    if (hop === maxRedirects) throw new Error(`${url}: more than ${maxRedirects} redirects`);
    const next = new URL(answer, target);
    if (target.protocol === "https:" && next.protocol !== "https:")
      throw new Error(`${url}: redirects away from https`);
    target = next;
  }
}

/** A text: where it redirects to. */
function get(url: URL, signal: AbortSignal, maxBytes: number): Promise<FetchedText | string> {
  const request = url.protocol === "https:" ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const fail = (reason: string): void => reject(new Error(`GET ${url.href}: ${reason}`));
    const call = request(
      url,
      { agent: false, signal, headers: { accept: "application/json" } },
      (answer) => {
        const status = answer.statusCode ?? 0;
        if (status >= 300 && status < 400 && answer.headers.location !== undefined) {
          answer.destroy();
          resolve(answer.headers.location);
          return;
        }
        if (status !== 200) {
          answer.destroy();
          fail(`status ${status}`);
          return;
        }
        const chunks: Buffer[] = [];
        let bytes = 0;
        answer.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          chunks.push(chunk);
          if (bytes > maxBytes) {
            answer.destroy();
            fail(`more than ${maxBytes} bytes`);
          }
        });
        answer.on("error", (error) => fail(error.message));
        answer.on("end", () => {
          const age = /\bmax-age=(\d{1,9})\b/i.exec(answer.headers["cache-control"] ?? "");
          resolve({
            text: Buffer.concat(chunks).toString("utf8"),
            maxAgeMs: age === null ? null : Number(age[1]) * 1000,
          });
        });
      },
    );
    call.on("error", (error) => fail(signal.aborted ? "no answer in time" : error.message));
    call.end();
  });
}
