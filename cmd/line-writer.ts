/** Writes lines to a descriptor without ever waiting for it: what a blocked or broken reader does not take is dropped and counted. */

import fs from "node:fs";

/** Pause after EAGAIN (a full non-blocking pipe) or another failure (EPIPE, ENOSPC), before the next try. */
const retryMs = 100;

/** Lines that go out in one system call. */
const batchBytes = 64 * 1024;

/** One write at a time runs on Node's thread pool, so that a blocked pipe holds one pool thread and nothing else. */
export class LineWriter {
  private readonly fd: number;
  private readonly limitBytes: number;
  private queue: string[] = [];
  private queued = 0;
  private inFlight: Buffer | null = null;
  private retry: NodeJS.Timeout | null = null;
  private broken = false;
  private waiting: (() => void)[] = [];
  /** Lines that were lost, since the start. */
  dropped = 0;

  /** @param limitBytes what may wait in memory; default 4 MiB */
  constructor(fd: number, limitBytes = 4 * 1024 * 1024) {
    this.fd = fd;
    this.limitBytes = limitBytes;
  }

  /** Queues whole lines, each ending in a line feed. Never throws, never blocks. */
  write(lines: string): void {
    if (this.queued + lines.length > this.limitBytes) {
      this.dropped += countLines(lines);
      return;
    }
    this.queue.push(lines);
    this.queued += lines.length;
    this.pump();
  }

  /** True when the system has not taken what was written. */
  get isBlocked(): boolean {
    return this.inFlight !== null;
  }

  /** Resolves when all is written, or after `limitMs`; what is left then is lost. */
  flush(limitMs: number): Promise<void> {
    if (this.inFlight === null && this.queue.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  private pump(): void {
    if (this.inFlight !== null || this.retry !== null) return;
    if (this.queue.length === 0) {
      const waiting = this.waiting;
      this.waiting = [];
      for (const resolve of waiting) resolve();
      return;
    }
    let text = "";
    let taken = 0;
    while (taken < this.queue.length && text.length < batchBytes) text += this.queue[taken++]!;
    this.queue = this.queue.slice(taken);
    this.queued -= text.length;
    this.send(Buffer.from(text));
  }

  private send(buffer: Buffer): void {
    this.inFlight = buffer;
    fs.write(this.fd, buffer, (error, written) => {
      if (error === null) {
        this.broken = false;
        if (written < buffer.length) return this.send(buffer.subarray(written));
        this.inFlight = null;
        return this.pump();
      }
      const isFull = error.code === "EAGAIN";
      if (!isFull) {
        // this batch is gone; later ones try again: a disk may get room, a reader never comes back to a pipe
        this.dropped += countLines(buffer.toString("latin1"));
        this.broken = true;
      }
      this.retry = setTimeout(() => {
        this.retry = null;
        if (isFull) this.send(buffer);
        else {
          this.inFlight = null;
          this.pump();
        }
      }, retryMs);
      if (this.broken) this.retry.unref();
    });
  }
}

function countLines(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) count++;
  return count;
}
