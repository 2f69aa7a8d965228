/** Child processes of the benchmark: pinned to a core, ended with it, and what CPU time they have used. */

import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { eventually } from "../support/eventually.ts";

/** Core of the proxy, and core of everything else. */
export const proxyCore = 0;
export const otherCore = 1;

const running = new Set<Program>();
process.on("exit", () => {
  for (const program of running) program.child.kill("SIGKILL");
});

/** A running program with all its threads and child processes. */
export class Program {
  readonly child: ChildProcess;
  readonly name: string;
  private output = "";
  private ended = false;

  private constructor(name: string, child: ChildProcess) {
    this.name = name;
    this.child = child;
    const note = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-4000);
    };
    child.stdout?.on("data", note);
    child.stderr?.on("data", note);
    child.on("error", note as never);
    child.on("exit", () => {
      this.ended = true;
      running.delete(this);
    });
    running.add(this);
  }

  /** Starts `command` on one core and resolves when every port accepts connections. */
  static async start(
    name: string,
    command: readonly string[],
    options: {
      /** Core to pin to; null: any. */
      readonly core: number | null;
      readonly ports: readonly number[];
      readonly env?: NodeJS.ProcessEnv;
    },
  ): Promise<Program> {
    const raised = ["sh", "-c", 'ulimit -n "$(ulimit -H -n)"; exec "$@"', "sh", ...command];
    const pinned = options.core === null ? raised : pin(options.core, raised);
    const child = spawn(pinned[0]!, pinned.slice(1), {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...options.env },
    });
    const program = new Program(name, child);
    for (const port of options.ports) {
      await eventually(
        `${name} to listen on ${port}`,
        () => {
          if (program.ended) throw new Error(`${name} ended: ${program.output}`);
          return accepts(port);
        },
        30_000,
      );
    }
    return program;
  }

  /** Seconds of CPU, user and system, of all threads of all its processes. */
  cpuSeconds(): number {
    return family(this.child.pid!).reduce((sum, pid) => sum + processCpu(pid), 0);
  }

  /** Seconds of CPU of each thread, by its id. */
  threadSeconds(): Map<string, number> {
    const found = new Map<string, number>();
    for (const pid of family(this.child.pid!)) {
      for (const task of list(`/proc/${pid}/task`)) found.set(task, threadCpu(pid, task));
    }
    return found;
  }

  /** Bytes of memory in RAM of all its processes. */
  residentBytes(): number {
    return family(this.child.pid!).reduce((sum, pid) => {
      const kib = /^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`))?.[1] ?? "0";
      return sum + Number(kib) * 1024;
    }, 0);
  }

  async stop(): Promise<void> {
    if (this.ended) return;
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 5000);
    await gone;
    clearTimeout(timer);
  }
}

/** The command, kept to one core where `taskset` is there. */
export function pin(core: number, command: readonly string[]): readonly string[] {
  return hasProgram("taskset") ? ["taskset", "-c", String(core), ...command] : command;
}

/** True when PATH has a program of that name. */
export function hasProgram(name: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${name}`]).status === 0;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** The process and all its descendants. */
function family(pid: number): number[] {
  const pids = [pid];
  for (const task of list(`/proc/${pid}/task`)) {
    const children = read(`/proc/${pid}/task/${task}/children`).trim();
    if (children !== "")
      for (const child of children.split(" ")) pids.push(...family(Number(child)));
  }
  return pids;
}

/** Seconds; per thread from schedstat (nanoseconds), since the ticks of stat are too coarse for short runs. */
function processCpu(pid: number): number {
  let seconds = 0;
  for (const task of list(`/proc/${pid}/task`)) seconds += threadCpu(pid, task);
  return seconds;
}

function threadCpu(pid: number, task: string): number {
  return Number(read(`/proc/${pid}/task/${task}/schedstat`).split(" ")[0] ?? 0) / 1e9;
}

function list(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

function read(file: string): string {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
