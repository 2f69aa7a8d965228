/** `weft gateway` and `weft mesh`: the whole life of the process, with its signals and exit codes. */

import { existsSync } from "node:fs";
import { createAdmin } from "../control/admin/app.ts";
import { listenAdmin, type AdminServer } from "../control/admin/server.ts";
import type { LogLevel } from "../control/admin/source.ts";
import { watchFiles, type Watch } from "../control/watch.ts";
import { runBeside, type Beside } from "../mesh/run-beside.ts";
import { createAdminSource } from "./admin-source.ts";
import { wholeNumber } from "./args.ts";
import type { Arguments } from "./command.ts";
import { fromFile, type ConfigOrigin } from "./config-origin.ts";
import { askForAdminPort, isSuccessor, sayReady, startSuccessor } from "./hot-restart.ts";
import { CommandError, exitCodes, report } from "./exit.ts";
import { explain } from "./listen-sockets.ts";
import { LogSink } from "./log.ts";
import { Signals } from "./signals.ts";
import { Supervisor } from "./supervisor.ts";
import { exitAtOnce } from "./system-calls.ts";
import { version } from "./version.ts";

/** What is served, and how. */
export interface ServeOptions {
  readonly mode: "gateway" | "mesh";
  readonly origin: ConfigOrigin;
  readonly logLevel: LogLevel;
  readonly workers: number | null;
  /** The app to run beside a sidecar; null: none. */
  readonly command: readonly [string, ...string[]] | null;
  /** Called once everything is open. */
  readonly onReady?: (supervisor: Supervisor) => void;
}

/** Names that are tried when no `-c` is given. */
const usualFiles = ["weft.yaml", "weft.yml", "weft.json", "weft.config.ts"];

/** The configuration file when none is named: the first usual one that exists. */
export function usualFile(): string {
  return usualFiles.find((name) => existsSync(name)) ?? usualFiles[0]!;
}

/** Runs `gateway` or `mesh` with what the user typed. */
export function serveCommand(mode: "gateway" | "mesh", args: Arguments): Promise<never> {
  const file = args.value("config") ?? usualFile();
  const [program, ...rest] = args.rest ?? [];
  if (args.rest !== null && program === undefined) {
    throw new CommandError(exitCodes.usage, `weft ${mode}: no command stands after "--"`);
  }
  return serve({
    mode,
    origin: fromFile(file, mode, process.env),
    logLevel: (args.value("log-level") ?? "info") as LogLevel,
    workers: wholeNumber(args, "workers", [1, 255]) ?? null,
    command: program === undefined ? null : [program, ...rest],
  });
}

/** Serves until a signal ends it; the process exits here, whatever happens. */
export async function serve(options: ServeOptions): Promise<never> {
  const log = new LogSink({ level: options.logLevel });
  const signals = new Signals();
  // a fault of the main thread takes nothing from the workers: they serve on, and the log has its cause
  process.on("uncaughtException", (error) => {
    log.error("internal error in the main thread", { error: error.stack ?? String(error) });
  });
  try {
    process.exitCode = await new Serving(options, log, signals).run();
  } catch (error) {
    await log.flush(500);
    process.exitCode = report(error);
  }
  await log.flush(500);
  // a write that hangs in a full pipe would hold up a usual exit for ever
  return log.isBlocked ? exitAtOnce(process.exitCode) : process.exit();
}

class Serving {
  private readonly options: ServeOptions;
  private readonly log: LogSink;
  private readonly signals: Signals;
  private admin: AdminServer | null = null;
  private watch: Watch | null = null;
  private beside: Beside | null = null;
  private restarting = false;
  /** Null while we start. */
  private reload: (() => void) | null = null;
  private changedEarly = false;

  constructor(options: ServeOptions, log: LogSink, signals: Signals) {
    this.options = options;
    this.log = log;
    this.signals = signals;
  }

  /** Resolves to the exit code. */
  async run(): Promise<number> {
    const { log, signals, options } = this;
    // before the file is read: what changes while we start is not missed
    await this.startWatch();
    const starting = Supervisor.start({
      ...options,
      log,
      onFiles: (files) => this.watch!.setFiles([...this.ownFile, ...files]),
    });
    const first = await Promise.race([starting, signals.stop]);
    if (typeof first === "string") return exitCodes.ok;
    const supervisor = first;
    const takesOver = isSuccessor();
    try {
      if (takesOver) await askForAdminPort();
      await this.openAdmin(supervisor);
    } catch (error) {
      await supervisor.stop();
      throw error;
    }
    this.reload = () => void supervisor.reload();
    if (this.changedEarly) this.reload();
    signals.onReload = () => void supervisor.reload();
    signals.onRestart = () => void this.restart(supervisor);
    if (takesOver) sayReady();
    for (const { name, address } of supervisor.plan.states(true)) {
      log.info("listening", { listener: name, address });
    }
    log.info("ready", { mode: options.mode, workers: supervisor.workerCount });
    options.onReady?.(supervisor);
    const code = await this.untilEnd(supervisor);
    this.watch?.close();
    void this.admin?.close();
    return code;
  }

  /** Until a signal, `POST /drain`, or the end of the app beside us. */
  private async untilEnd(supervisor: Supervisor): Promise<number> {
    const { options, signals, log } = this;
    if (options.command !== null) {
      const isTerminal = process.stdin.isTTY === true;
      this.beside = runBeside(options.command, { env: process.env, log, isTerminal });
      signals.onOther = (name) => this.beside?.signal(name);
      // the app is our child: it cannot be handed to another process, and may know the signal
      signals.onRestart = () => this.beside?.signal("SIGUSR2");
    }
    const ended = this.beside === null ? never : this.beside.exited.then(() => "end" as const);
    const why = await Promise.race([signals.stop, ended]);
    const limitMs = supervisor.applied?.config.drainTimeoutMs ?? 30_000;
    log.info("draining", { reason: why, limitMs });
    if (why !== "end") this.beside?.signal(why);
    supervisor.draining = true;
    const endMs = performance.now() + limitMs;
    const drained = (async () => {
      // the app goes on calling its peers through us until it has ended
      const code = await within(this.beside?.exited ?? Promise.resolve(null), limitMs);
      await supervisor.drain(Math.max(0, endMs - performance.now()));
      if (code === null) this.beside?.signal("SIGKILL");
      return code ?? exitCodes.ok;
    })();
    const code = await Promise.race([drained, signals.again]);
    if (typeof code === "string") {
      log.warn("second signal: ending at once", { signal: code });
      this.beside?.signal("SIGKILL");
      await within(supervisor.stop(), 200);
      return exitCodes.input;
    }
    await supervisor.stop();
    log.info("drained");
    return code;
  }

  /** A new process takes our place; then this one drains as after SIGTERM. */
  private async restart(supervisor: Supervisor): Promise<void> {
    const { log } = this;
    if (this.restarting || supervisor.draining) return;
    this.restarting = true;
    supervisor.plan.isShared = true;
    let done = false;
    try {
      done = await startSuccessor({
        sockets: supervisor.plan.handover(),
        log,
        closeAdmin: async () => this.admin?.release(),
        reopenAdmin: () => this.openAdmin(supervisor),
      });
      if (done) this.signals.stopNow();
    } catch (error) {
      log.error("hot restart failed", { error: (error as Error).message });
    } finally {
      supervisor.plan.isShared = done;
      this.restarting = false;
    }
  }

  private async openAdmin(supervisor: Supervisor): Promise<void> {
    const { log } = this;
    const { admin: at, drainTimeoutMs } = supervisor.applied!.config;
    const source = createAdminSource(supervisor, () => {
      log.info("draining", { reason: "POST /drain" });
      void supervisor.drain(drainTimeoutMs);
    });
    const app = createAdmin(source, {
      host: at.host,
      token: at.token,
      version,
      onError: (error) => log.error("the admin API failed", { error: String(error) }),
    });
    try {
      this.admin = await listenAdmin(app, at);
      log.info("admin API", { address: this.admin.address });
    } catch (error) {
      const message = explain({ name: "admin", host: at.host, port: at.port }, error).replace(
        /^listener /,
        "",
      );
      // the usual port may belong to another weft on this machine; one that was asked for must be ours
      if (at.explicit) throw new CommandError(exitCodes.connect, message);
      log.warn(`no admin API: ${message}; admin.address in the configuration moves it`);
    }
  }

  /** The configuration file; certificates and code join it once they are known. Any change is a reload. */
  private async startWatch(): Promise<void> {
    this.watch = await watchFiles(this.ownFile, (changed) => {
      this.log.info("files changed", { files: changed });
      if (this.reload === null) this.changedEarly = true;
      else this.reload();
    });
  }

  private get ownFile(): string[] {
    const { file } = this.options.origin;
    return file === null ? [] : [file];
  }
}

const never = new Promise<never>(() => {});

/** The promise's value, or null after `limitMs`. */
function within<T>(promise: Promise<T>, limitMs: number): Promise<T | null> {
  const { promise: late, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), limitMs);
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
