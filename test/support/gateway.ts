/** A real weft process for tests: its configuration in a folder of its own, ready when `/readyz` says so. */

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { eventually, within } from "./eventually.ts";
import { freePorts } from "./ports.ts";
import { RawClient } from "./raw-client.ts";
import type { ConnectOptions } from "./raw-client.ts";
import { root } from "./source-tree.ts";

/** What to start. */
export interface GatewayOptions {
  /** The configuration, YAML; `port` are free ones to use, `admin` is where the fixture looks for readiness. */
  readonly config: (ports: {
    readonly port: readonly number[];
    readonly admin: number;
    readonly folder: string;
  }) => string;
  /** How many free ports the configuration needs; default 1. */
  readonly ports?: number;
  /** Further files of the folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Default `gateway`. */
  readonly mode?: "gateway" | "mesh";
  /** After `-c FILE`. */
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** What to run instead of this clone's entry. */
  readonly command?: readonly string[];
}

const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** A running weft. */
export class Gateway {
  readonly child: ChildProcess;
  readonly ports: readonly number[];
  readonly admin: number;
  readonly folder: string;
  /** Everything written to stdout and stderr. */
  stdout = "";
  stderr = "";
  private readonly exited: Promise<number | null>;

  private constructor(
    child: ChildProcess,
    ports: readonly number[],
    admin: number,
    folder: string,
  ) {
    this.child = child;
    this.ports = ports;
    this.admin = admin;
    this.folder = folder;
    child.stdout?.on("data", (chunk: Buffer) => (this.stdout += chunk.toString()));
    child.stderr?.on("data", (chunk: Buffer) => (this.stderr += chunk.toString()));
    this.exited = once(child, "exit").then(([code]) => code as number | null);
    running.add(child);
    child.once("exit", () => running.delete(child));
  }

  /** Starts it and waits until it is ready; fails with its output when it ends first. */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const [admin, ...port] = (await freePorts((options.ports ?? 1) + 1)) as [number, ...number[]];
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-test-"));
    for (const [name, text] of Object.entries(options.files ?? {})) {
      fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
      fs.writeFileSync(path.join(folder, name), text);
    }
    const file = path.join(folder, "weft.yaml");
    fs.writeFileSync(file, options.config({ port, admin, folder }));
    const command = options.command ?? [process.execPath, path.join(root, "cmd/weft.ts")];
    const child = spawn(
      command[0]!,
      [...command.slice(1), options.mode ?? "gateway", "-c", file, ...(options.args ?? [])],
      {
        cwd: folder,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, ...options.env },
      },
    );
    const gateway = new Gateway(child, port, admin, folder);
    try {
      await eventually("the gateway to be ready", () => {
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error(`weft ended with ${child.exitCode}`);
        return gateway.isReady();
      });
    } catch (error) {
      child.kill("SIGKILL");
      throw new Error(`${(error as Error).message}\n${gateway.stdout}${gateway.stderr}`, {
        cause: error,
      });
    }
    return gateway;
  }

  /** Of the first listener. */
  get port(): number {
    return this.ports[0]!;
  }

  /** A raw connection to the first listener. */
  connect(options?: ConnectOptions): Promise<RawClient> {
    return RawClient.connect(this.port, options);
  }

  async isReady(): Promise<boolean> {
    try {
      const answer = await fetch(`http://127.0.0.1:${this.admin}/readyz`, {
        // a port that somebody else got hold of may never answer
        signal: AbortSignal.timeout(2_000),
      });
      await answer.arrayBuffer();
      return answer.status === 200;
    } catch {
      return false;
    }
  }

  /** GET of the admin API, as text. */
  async ask(where: string): Promise<string> {
    return (await fetch(`http://127.0.0.1:${this.admin}${where}`)).text();
  }

  /** Sum of the samples of a metric whose labels include all of `labels`. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    let sum = 0;
    for (const line of (await this.ask("/metrics")).split("\n")) {
      if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
      if (!Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`)))
        continue;
      sum += Number(line.slice(line.lastIndexOf(" ") + 1));
    }
    return sum;
  }

  /** Sends a signal and waits for the end; the exit code, null when a signal ended it. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    const code = await within("weft to end", this.exited, 40_000);
    fs.rmSync(this.folder, { recursive: true, force: true });
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL");
  }
}
