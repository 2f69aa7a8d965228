/** SIGUSR2: a new process takes over the listening sockets, the old one drains; no connection waits in a queue that closes. */

import { spawn } from "node:child_process";
import type { LogSink } from "./log.ts";
import { CommandError, exitCodes } from "./exit.ts";

/** The sockets of one listener, as they go from process to process. */
export interface Handover {
  /** The listener and its address as configured: the new process finds it by this. */
  readonly key: string;
  /** As bound. */
  readonly host: string;
  readonly port: number;
  readonly descriptors: readonly number[];
}

const variable = "WEFT_INHERITED";
/** How long a new process may take to be ready before the old one gives up on it. */
const readyLimitMs = 60_000;

let inherited: Map<string, Handover> | null = null;

/** What the process before us left for this listener; null: bind it. */
export function takeInherited(key: string): Handover | null {
  if (inherited === null) {
    inherited = new Map();
    const text = process.env[variable];
    // never on to an app beside us, or to our own successor
    delete process.env[variable];
    if (text !== undefined)
      for (const one of JSON.parse(text) as Handover[]) inherited.set(one.key, one);
  }
  const found = inherited.get(key) ?? null;
  inherited.delete(key);
  return found;
}

/** Worker threads of the process before us: each has its own queue, so their number stays until a full restart. */
export function inheritedWorkers(): number | null {
  takeInherited("");
  let most = 0;
  for (const { descriptors } of inherited!.values()) most = Math.max(most, descriptors.length);
  return most === 0 ? null : most;
}

/** What the two processes say to each other. */
type Message = "accepting" | "admin-closed" | "ready";

/** True in a process that was started to take over. */
export function isSuccessor(): boolean {
  return process.env["WEFT_SUCCESSOR"] === "1" && process.send !== undefined;
}

/** In the new process, once its workers accept: has the old one give up its admin port. */
export async function askForAdminPort(): Promise<void> {
  delete process.env["WEFT_SUCCESSOR"];
  const answered = new Promise<void>((resolve) => {
    process.once("message", () => resolve());
    process.once("disconnect", () => resolve());
  });
  process.send!("accepting" satisfies Message);
  await answered;
}

/** In the new process, at the end: the old one may go. */
export function sayReady(): void {
  process.send!("ready" satisfies Message);
  process.disconnect!();
}

export interface Predecessor {
  readonly sockets: readonly Handover[];
  readonly log: LogSink;
  closeAdmin(): Promise<void>;
  reopenAdmin(): Promise<void>;
}

/**
 * Starts this program again with our sockets. Resolves to true when the new process serves, and false when it could
 * not: then nothing has changed here.
 */
export async function startSuccessor(us: Predecessor): Promise<boolean> {
  const { log } = us;
  if (us.sockets.some(({ descriptors }) => descriptors.length === 0)) {
    throw new CommandError(
      exitCodes.internal,
      "this Node cannot hand sockets over: a hot restart needs Node 26",
    );
  }
  let next = 4;
  const named = us.sockets.map((one) => ({
    ...one,
    descriptors: one.descriptors.map(() => next++),
  }));
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: [
      "inherit",
      "inherit",
      "inherit",
      "ipc",
      ...us.sockets.flatMap(({ descriptors }) => descriptors),
    ],
    env: { ...process.env, [variable]: JSON.stringify(named), WEFT_SUCCESSOR: "1" },
  });
  log.info("hot restart: a new process is starting", { successor: child.pid });
  let adminClosed = false;
  const ready = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), readyLimitMs);
    const settle = (value: boolean): void => {
      clearTimeout(timer);
      resolve(value);
    };
    child.on("message", (message: Message) => {
      if (message === "ready") return settle(true);
      adminClosed = true;
      void us
        .closeAdmin()
        .then(() => child.connected && child.send("admin-closed" satisfies Message));
    });
    child.once("error", () => settle(false));
    child.once("exit", () => settle(false));
  });
  if (ready) {
    log.info("hot restart: the new process serves", { successor: child.pid });
    child.unref();
    return true;
  }
  child.kill("SIGKILL");
  if (adminClosed) await us.reopenAdmin();
  log.error("hot restart failed: the new process did not become ready; this one serves on");
  return false;
}
