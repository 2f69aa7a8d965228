/** One process of the demo: started as our child, watched, and ended. */

import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import http from "node:http";

/** What is started, and how one sees that it is ready. */
export interface ProcessSpec {
  /** `sidecar of orders-1`. */
  readonly name: string;
  /** The program for node, and its arguments. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Answers 200 once it is ready. */
  readonly readyUrl: string;
}

const keptLines = 40;
const pollMs = 50;

/** A running child. Its output is kept, not shown: it matters when the child fails. */
export class DemoProcess {
  readonly name: string;
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  readonly #readyUrl: string;
  readonly #lines: string[] = [];
  #end: string | null = null;

  constructor(spec: ProcessSpec) {
    this.name = spec.name;
    this.#readyUrl = spec.readyUrl;
    const leash = import.meta.resolve("./demo-leash.ts");
    this.#child = spawn(process.execPath, ["--import", leash, ...spec.argv], {
      env: { ...process.env, ...spec.env },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    for (const output of [this.#child.stdout, this.#child.stderr]) if (output) this.#keep(output);
    this.ended = new Promise((resolve) => {
      const end = (how: string) => {
        this.#end ??= how;
        resolve();
      };
      this.#child.once("error", (error) => end(error.message));
      this.#child.once("exit", (code, signal) =>
        end(signal === null ? `exit code ${code}` : signal),
      );
    });
  }

  /** How it ended; null while it runs. */
  get end(): string | null {
    return this.#end;
  }

  /** The last lines it wrote. */
  get output(): string {
    return this.#lines.map((line) => `  ${line}\n`).join("");
  }

  signal(name: NodeJS.Signals): void {
    if (this.#end === null) this.#child.kill(name);
  }

  /**
   * Resolves when the process answers its ready URL.
   * @throws when it ends before, with what it wrote; when `signal` aborts
   */
  async ready(signal: AbortSignal): Promise<void> {
    await poll(this.#readyUrl, () => {
      if (this.#end !== null) throw new Error(`${this.name} ended (${this.#end}):\n${this.output}`);
      if (signal.aborted) throw new Error(`${this.name} is not ready:\n${this.output}`);
    });
  }

  #keep(output: Readable): void {
    createInterface({ input: output }).on("line", (line) => {
      this.#lines.push(line);
      if (this.#lines.length > keptLines) this.#lines.shift();
    });
  }
}

/**
 * Resolves when a GET of `url` is answered with 200.
 * @throws when `signal` aborts before
 */
export function waitForAnswer(url: string, signal: AbortSignal): Promise<void> {
  return poll(url, () => {
    if (signal.aborted) throw new Error(`${url} is not answered with 200`);
  });
}

async function poll(url: string, check: () => void): Promise<void> {
  while (!(await answers(url))) {
    check();
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** True when a GET is answered with 200. */
function answers(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = http.get(url, { agent: false, timeout: 2000 }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode === 200));
      response.on("error", () => resolve(false));
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", () => resolve(false));
  });
}
