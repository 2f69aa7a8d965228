/** Says when the content of files has changed, however they are replaced: written, renamed over, or swapped by a symlink as Kubernetes does. */

import { createHash } from "node:crypto";
import { watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import { readFile, realpath } from "node:fs/promises";
import { dirname, resolve } from "node:path";

export interface WatchOptions {
  /** Quiet time after an event before files are read, milliseconds. Default 30: an editor writes in several steps. */
  readonly debounceMs?: number;
  /** Files are read this often even without an event, milliseconds. Default 5000: network folders send none. */
  readonly pollMs?: number;
}

/** A running watch. */
export interface Watch {
  /** Watches these files instead; a file that is new to the watch counts as unchanged now. */
  setFiles(files: readonly string[]): void;
  /** Looks now, without waiting for an event. Resolves when `onChange` has been called, or nothing had changed. */
  check(): Promise<void>;
  close(): void;
}

/**
 * Calls `onChange` with the absolute names of the files whose content differs from what it last was. A touched file
 * with the same content is silent. A file that is gone is reported when it is still gone at a second look.
 * The watch does not keep the process alive.
 */
export async function watchFiles(
  files: readonly string[],
  onChange: (changed: readonly string[]) => void,
  options: WatchOptions = {},
): Promise<Watch> {
  const watching = new FileWatch(onChange, options);
  watching.setFiles(files);
  await watching.ready();
  return watching;
}

/** What is known of a file: `null` is gone; `undefined` was never looked at. */
type Digest = string | null | undefined;

class FileWatch implements Watch {
  readonly #onChange: (changed: readonly string[]) => void;
  readonly #debounceMs: number;
  readonly #digests = new Map<string, Digest>();
  readonly #folders = new Map<string, FSWatcher>();
  readonly #poll: NodeJS.Timeout;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #again = false;
  #closed = false;
  /** Files that were gone at the last look: reported at the next one. */
  #missing = new Set<string>();

  constructor(onChange: (changed: readonly string[]) => void, options: WatchOptions) {
    this.#onChange = onChange;
    this.#debounceMs = options.debounceMs ?? 30;
    this.#poll = setInterval(() => void this.check(), options.pollMs ?? 5000);
    this.#poll.unref();
  }

  setFiles(files: readonly string[]): void {
    const wanted = new Set(files.map((file) => resolve(file)));
    for (const file of this.#digests.keys()) if (!wanted.has(file)) this.#digests.delete(file);
    for (const file of wanted) if (!this.#digests.has(file)) this.#digests.set(file, undefined);
    void this.check();
  }

  async ready(): Promise<void> {
    await this.check();
  }

  async check(): Promise<void> {
    if (this.#closed) return;
    if (this.#running !== null) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#look();
    try {
      await this.#running;
    } finally {
      this.#running = null;
    }
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#poll);
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const watcher of this.#folders.values()) watcher.close();
    this.#folders.clear();
  }

  async #look(): Promise<void> {
    do {
      this.#again = false;
      await this.#followFolders();
      const changed: string[] = [];
      for (const file of this.#digests.keys()) {
        const digest = await digestOf(file);
        if (this.#isNews(file, digest)) changed.push(file);
      }
      if (changed.length > 0 && !this.#closed) this.#onChange(changed);
    } while (this.#again && !this.#closed);
  }

  #isNews(file: string, digest: string | null): boolean {
    if (!this.#digests.has(file)) return false;
    const old = this.#digests.get(file);
    if (digest === null && old !== null && old !== undefined && !this.#missing.has(file)) {
      this.#missing.add(file);
      this.#schedule(this.#debounceMs * 15);
      return false;
    }
    this.#missing.delete(file);
    this.#digests.set(file, digest);
    return old !== undefined && old !== digest;
  }

  /** The folder of the name, and that of the file it leads to: a swap of `..data` is seen in the first, a write in the second. */
  async #followFolders(): Promise<void> {
    const wanted = new Set<string>();
    for (const file of this.#digests.keys()) {
      wanted.add(dirname(file));
      try {
        wanted.add(dirname(await realpath(file)));
      } catch {
        // Gone for now: its own folder says when it is back.
      }
    }
    if (this.#closed) return;
    for (const [folder, watcher] of this.#folders) {
      if (wanted.has(folder)) continue;
      watcher.close();
      this.#folders.delete(folder);
    }
    for (const folder of wanted) if (!this.#folders.has(folder)) this.#follow(folder);
  }

  /** Where the system cannot watch (too many watches, no such folder), the poll alone remains. */
  #follow(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#schedule(this.#debounceMs));
      watcher.on("error", () => {
        watcher.close();
        this.#folders.delete(folder);
      });
      this.#folders.set(folder, watcher);
    } catch {
      this.#folders.delete(folder);
    }
  }

  #schedule(afterMs: number): void {
    if (this.#closed) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.check();
    }, afterMs);
    this.#timer.unref();
  }
}

async function digestOf(file: string): Promise<string | null> {
  try {
    return createHash("sha256")
      .update(await readFile(file))
      .digest("base64");
  } catch {
    return null;
  }
}
