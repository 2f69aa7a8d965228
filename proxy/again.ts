/** Sends a request to its service once more, beside the exchange that it came with: for plugins that refresh what they keep. */

import { Fields } from "./http/fields.ts";
import { RequestHead, type ResponseHead } from "./http/head.ts";
import type { Downstream } from "./http/stream.ts";
import type { OtherAnswer } from "./pipeline/plugin.ts";

/** A copy that outlives the exchange. A body does not come with it. */
export function copyRequest(req: RequestHead): RequestHead {
  const { headers, ...rest } = req;
  const copy = Object.assign(new RequestHead(), rest);
  copy.headers.raw = headers.raw;
  copy.headers.offsets = headers.offsets.slice();
  copy.headers.kinds = headers.kinds.slice();
  copy.headers.count = headers.count;
  copy.headers.edits = headers.edits?.slice() ?? null;
  copy.headers.secrets = headers.secrets;
  copy.framing = "none";
  copy.contentLength = 0;
  copy.expectContinue = false;
  return copy;
}

/** A caller who is not there: takes the whole answer, up to a limit. */
export class Collector implements Downstream {
  private readonly limitBytes: number;
  private readonly settle: (answer: OtherAnswer | null) => void;
  private head: Omit<OtherAnswer, "body"> | null = null;
  private chunks: Buffer[] = [];
  private bytes = 0;

  /** @param settle called once: null when the answer broke off, or is larger than the limit */
  constructor(limitBytes: number, settle: (answer: OtherAnswer | null) => void) {
    this.limitBytes = limitBytes;
    this.settle = settle;
  }

  sendHead(head: ResponseHead): void {
    const headers = new Fields();
    for (const [name, value] of head.headers) {
      try {
        headers.append(name, value);
      } catch {
        // framing is not a part of what is kept
      }
    }
    this.head = { status: head.status, source: head.source, headers };
  }

  sendData(chunk: Buffer): boolean {
    this.bytes += chunk.length;
    if (this.bytes <= this.limitBytes) this.chunks.push(Buffer.from(chunk));
    else this.chunks = [];
    return true;
  }

  sendEnd(): void {
    const { head, bytes, limitBytes } = this;
    const isWhole = head !== null && bytes <= limitBytes;
    this.settle(isWhole ? { ...head, body: Buffer.concat(this.chunks) } : null);
  }

  abort(): void {
    this.settle(null);
  }

  takeOver(): null {
    return null;
  }

  attach(): void {}
  sendInformational(): void {}
  flush(): void {}
  pause(): void {}
  resume(): void {}
  closeAfter(): void {}
}
