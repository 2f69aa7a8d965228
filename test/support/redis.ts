/** A redis-server for tests: on a loopback port, without a file, gone with the test. */

import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { within } from "./eventually.ts";
import { freePorts } from "./ports.ts";

/** Null: it is here. Else why tests of it cannot run; on CI they must, so there it is never a reason to skip. */
export const redisMissing: string | false =
  process.env["CI"] !== "true" && spawnSync("redis-server", ["--version"]).status !== 0
    ? "redis-server is not installed: these tests need it (apt-get install redis-server)"
    : false;

/** One running server. */
export class RedisServer {
  readonly port: number;
  private child: ChildProcess;

  private readonly settings: readonly string[];

  private constructor(port: number, child: ChildProcess, settings: readonly string[]) {
    this.settings = settings;
    this.port = port;
    this.child = child;
  }

  /** Ready for connections when it resolves. */
  static async start(port?: number, settings: readonly string[] = []): Promise<RedisServer> {
    const [free] = await freePorts(1);
    const at = port ?? free!;
    return new RedisServer(at, await launch(at, settings), settings);
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Stops answering, keeping its connections; {@link resume} ends that. */
  pause(): void {
    this.child.kill("SIGSTOP");
  }

  resume(): void {
    this.child.kill("SIGCONT");
  }

  async stop(): Promise<void> {
    const { child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGCONT");
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** Starts again on the same port, empty. */
  async restart(): Promise<void> {
    await this.stop();
    this.child = await launch(this.port, this.settings);
  }
}

async function launch(port: number, settings: readonly string[]): Promise<ChildProcess> {
  const child = spawn(
    "redis-server",
    [
      "--port",
      String(port),
      "--bind",
      "127.0.0.1",
      "--save",
      "",
      "--appendonly",
      "no",
      ...settings,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  process.once("exit", () => child.kill("SIGKILL"));
  const ready = new Promise<void>((resolve, reject) => {
    let text = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes("Ready to accept connections")) resolve();
    });
    child.once("exit", () => reject(new Error(`redis-server ended: ${text}`)));
    child.once("error", reject);
  });
  await within("redis-server", ready);
  return child;
}
