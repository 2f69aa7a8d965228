/** What the caches of one route tell each other, from worker to worker: what is kept in one is kept in all. */

import type { Kept } from "./cache-store.ts";
import type { Host } from "../proxy/pipeline/plugin.ts";

/** From another worker. */
export interface CacheListener {
  /** An answer is to be kept here too. */
  onKept(key: string, kept: Kept): void;
  /** It holds no more. */
  onDropped(key: string): void;
  /** The request that others wait for has ended. @param isUnkept its answer must not be kept */
  onOver(key: string, isUnkept: boolean): void;
}

type News =
  | {
      readonly type: "kept";
      readonly key: string;
      readonly head: Omit<Kept, "body" | "arrivedMs">;
      /** A copy: memory that is shared would be unknown to the collectors of garbage, and heap up. */
      readonly body: ArrayBuffer;
      /** How long ago it arrived, and the time of day: each thread has a monotonic clock of its own. */
      readonly agoMs: number;
      readonly wallMs: number;
    }
  | { readonly type: "dropped"; readonly key: string }
  | { readonly type: "over"; readonly key: string; readonly isUnkept: boolean };

export class CacheChannel {
  private readonly channel: BroadcastChannel;
  private readonly host: Pick<Host, "now" | "wallNow">;

  /** @param name the same in all workers, for one cache */
  constructor(name: string, host: Pick<Host, "now" | "wallNow">, listener: CacheListener) {
    this.host = host;
    this.channel = new BroadcastChannel(`weft cache ${name}`);
    this.channel.onmessage = ({ data }: MessageEvent) => this.hear(data as News, listener);
    // Node's; the type is the browsers'
    (this.channel as unknown as { unref(): void }).unref();
  }

  /** @param kept its body is one of {@link ownBody} */
  tellKept(key: string, { body, arrivedMs, ...head }: Kept): void {
    const agoMs = this.host.now() - arrivedMs;
    const wallMs = this.host.wallNow();
    this.tell({ type: "kept", key, head, body: body.buffer as ArrayBuffer, agoMs, wallMs });
  }

  tellDropped(key: string): void {
    this.tell({ type: "dropped", key });
  }

  tellOver(key: string, isUnkept: boolean): void {
    this.tell({ type: "over", key, isUnkept });
  }

  close(): void {
    this.channel.close();
  }

  private tell(news: News): void {
    this.channel.postMessage(news);
  }

  private hear(news: News, listener: CacheListener): void {
    switch (news.type) {
      case "kept": {
        const sinceMs = news.agoMs + Math.max(0, this.host.wallNow() - news.wallMs);
        const arrivedMs = this.host.now() - sinceMs;
        listener.onKept(news.key, { ...news.head, body: Buffer.from(news.body), arrivedMs });
        return;
      }
      case "dropped":
        listener.onDropped(news.key);
        return;
      case "over":
        listener.onOver(news.key, news.isUnkept);
    }
  }
}

/** The bytes in memory of their own: of a buffer that lies in a larger one, that would be sent in whole. */
export function ownBody(chunks: readonly Uint8Array[], bytes: number): Buffer {
  const body = Buffer.allocUnsafeSlow(bytes);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}
