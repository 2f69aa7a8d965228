/** The process: sockets, workers, configuration and health checks, from the first snapshot to the last exchange. */

import { randomBytes } from "node:crypto";
import os from "node:os";
import type { AppliedConfig, ApplyResult, Rejection } from "../control/admin/source.ts";
import { describeCertificates } from "../control/admin/certificates.ts";
import { checkReferences } from "../control/compile/references.ts";
import type { Config, Problem } from "../control/config.ts";
import { SharedState } from "../proxy/observe/shared.ts";
import type { ConfigOrigin, Loaded } from "./config-origin.ts";
import { CommandError, exitCodes } from "./exit.ts";
import { connectionsFor } from "./descriptor-limit.ts";
import { inheritedWorkers } from "./hot-restart.ts";
import { ListenPlan, type PreparedPlan } from "./listen-plan.ts";
import type { LogLevel, LogSink } from "./log.ts";
import { MainServices } from "./main-services.ts";
import { ProcessMetrics } from "./process-metrics.ts";
import type { FromWorker } from "./protocol.ts";
import { RefusedCallers } from "./refused-callers.ts";
import { certificateFiles, codeFiles, contentHashes } from "./watched-files.ts";
import { ThreadNumbers } from "./thread-numbers.ts";
import { startWatchdog } from "./watchdog.ts";
import type { WorkerThread } from "./worker-thread.ts";
import { Workers, inWords } from "./workers.ts";

export interface SupervisorOptions {
  readonly mode: "gateway" | "mesh";
  readonly origin: ConfigOrigin;
  readonly log: LogSink;
  /** Over what the configuration says. */
  readonly workers: number | null;
  /** Told the files to watch: certificates and code of each configuration that is tried, so that mending one is noticed. */
  readonly onFiles: (files: readonly string[]) => void;
}

/** Everything that a running weft is, but for its signals and its admin API. */
export class Supervisor {
  readonly mode: "gateway" | "mesh";
  readonly startedAtMs = Date.now();
  readonly metrics: ProcessMetrics;
  readonly services: MainServices;
  readonly plan: ListenPlan;
  readonly workers: Workers;
  readonly workerCount: number;
  readonly log: LogSink;
  /** Of callers, that this process can carry. */
  private readonly connections: number;
  /** By limits, lately. */
  readonly refused = new RefusedCallers();
  draining = false;
  applied: (AppliedConfig & { readonly loaded: Loaded }) | null = null;
  lastRejected: Rejection | null = null;
  /** Plugin and app files of the configuration in effect. */
  private code: readonly string[] = [];
  private readonly origin: ConfigOrigin;
  private readonly onFiles: SupervisorOptions["onFiles"];
  private readonly shared: SharedState;
  private ticketKeys = randomBytes(48);
  /** RFC 5077 section 5.5: keys that seal sessions are changed often. Whoever learns one can read a day, not a year. */
  private readonly ticketTimer = setInterval(
    () => this.renewTicketKeys(),
    ticketKeysLastMs,
  ).unref();
  /** Content hashes of the files that the threads have imported: what is changed of these needs new threads. */
  private imported = new Map<string, string>();
  private stopWatchdog = (): void => {};
  /** One configuration after the other. */
  private turn: Promise<unknown> = Promise.resolve();

  private constructor(options: SupervisorOptions, config: Config) {
    this.mode = options.mode;
    this.origin = options.origin;
    this.onFiles = options.onFiles;
    this.log = options.log;
    this.workerCount = inheritedWorkers() ?? options.workers ?? workerCount(config);
    this.connections = connectionsFor(this.workerCount);
    this.shared = SharedState.create({ threads: threadLimit });
    this.metrics = new ProcessMetrics(this.log, () => this.applied?.appliedAtMs ?? null);
    this.services = new MainServices(this.mode, this.shared, {
      metrics: this.metrics,
      log: this.log,
    });
    this.metrics.onScrape = () => this.services.publish();
    this.plan = new ListenPlan(this.mode, this.workerCount);
    this.workers = new Workers({
      count: this.workerCount,
      numbers: new ThreadNumbers(threadLimit),
      log: this.log,
      start: () => ({
        mode: this.mode,
        workers: this.workerCount,
        connections: this.connections,
        shared: this.shared.handles,
        ticketKeys: this.ticketKeys,
        logLevel: this.log.level,
      }),
      points: (slot) => this.plan.points(slot),
      onMessage: (thread, message) => this.receive(thread, message),
      onGone: (thread) => {
        this.metrics.retire(thread.id);
        this.shared.forgetThread(thread.number);
      },
      onRestart: () => this.metrics.restarted(),
      random: Math.random,
    });
  }

  /**
   * Resolves when all listeners are open and the first snapshot is in effect.
   * @throws {CommandError} exit code 1: the configuration is wrong; 3: a port is taken
   */
  static async start(options: SupervisorOptions): Promise<Supervisor> {
    const loading = await options.origin.load();
    if (!loading.ok) throw await refusal(loading.problems);
    const { loaded } = loading;
    const problems = checkReferences(loaded.config);
    if (problems.length > 0) throw await refusal(loaded.locate(problems));
    const supervisor = new Supervisor(options, loaded.config);
    try {
      await supervisor.begin(loaded);
    } catch (error) {
      await supervisor.stop();
      throw error;
    }
    return supervisor;
  }

  /** Reads the configuration again and applies it, if it is right. */
  reload(): Promise<ApplyResult> {
    return this.inTurn(async () => {
      const loading = await this.origin.load();
      return loading.ok ? this.replace(loading.loaded) : this.reject(loading.problems);
    });
  }

  /** Applies another text as the whole configuration. */
  put(text: string): Promise<ApplyResult> {
    return this.inTurn(async () => {
      const loading = await this.origin.parse(text);
      return loading.ok ? this.replace(loading.loaded) : this.reject(loading.problems);
    });
  }

  /** Empties what caches keep of a URL's path, or all of it. */
  purge(url: URL | null): void {
    if (url === null) this.shared.generations.advanceAll();
    else this.shared.generations.advance(`${url.hostname}${url.pathname}`);
  }

  /** Sessions sealed before do not resume: their next handshake is a full one. */
  private renewTicketKeys(): void {
    this.ticketKeys = randomBytes(48);
    for (const thread of this.workers.threads)
      thread.tell({ type: "ticket-keys", keys: this.ticketKeys });
  }

  setLogLevel(level: LogLevel): void {
    this.log.level = level;
    for (const thread of this.workers.threads) thread.tell({ type: "log-level", level });
    this.log.info("log level", { now: level });
  }

  get isReady(): boolean {
    return !this.draining && this.applied !== null && this.workers.isComplete;
  }

  /** Not ready from now on; accepts no more, and resolves when the last exchange has ended or `limitMs` are over. */
  async drain(limitMs: number): Promise<void> {
    this.draining = true;
    this.services.close();
    await this.plan.settle();
    // workers accept on copies: the ports close when the last of them lets go
    this.plan.close();
    await this.workers.drain(limitMs);
  }

  /** Ends everything at once. */
  async stop(): Promise<void> {
    this.draining = true;
    clearInterval(this.ticketTimer);
    this.stopWatchdog();
    this.services.close();
    await this.workers.stop();
    this.plan.close();
  }

  private async begin(loaded: Loaded): Promise<void> {
    const code = await codeFiles(loaded.config);
    this.imported = await contentHashes(code);
    this.onFiles([...certificateFiles(loaded.config), ...code]);
    (await this.plan.prepare(loaded.config)).commit();
    await this.services.apply(loaded.config);
    const outcome = await this.workers.start({ version: 1, config: loaded.config });
    if (!outcome.ok) {
      if (outcome.problems.length > 0) throw await refusal(loaded.locate(outcome.problems));
      throw new CommandError(exitCodes.internal, `a worker could not start: ${inWords(outcome)}`);
    }
    this.inEffect(loaded, 1, code);
    this.stopWatchdog = startWatchdog({
      shared: this.shared,
      threads: () => this.workers.threads,
      log: this.log,
    });
  }

  private async replace(loaded: Loaded): Promise<ApplyResult> {
    const { config } = loaded;
    if (this.draining)
      return this.reject([rootProblem("weft is draining: nothing changes any more")]);
    const broken = checkReferences(config);
    if (broken.length > 0) return this.reject(loaded.locate(broken));
    const code = await codeFiles(config);
    const hashes = await contentHashes(code);
    const before = this.applied === null ? [] : certificateFiles(this.applied.config);
    this.onFiles([...before, ...this.code, ...certificateFiles(config), ...code]);
    let plan: PreparedPlan;
    try {
      plan = await this.plan.prepare(config);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      return this.reject([rootProblem(error.message)]);
    }
    const next = { version: (this.applied?.version ?? 0) + 1, config };
    const needsThreads = [...hashes].some(
      ([file, hash]) => this.imported.has(file) && this.imported.get(file) !== hash,
    );
    const outcome = needsThreads
      ? await this.workers.roll(next, plan, config.drainTimeoutMs)
      : await this.workers.apply(next, plan);
    if (!outcome.ok) {
      plan.abort();
      // a thread remembers a failed import, too: the next configuration with these files gets new threads
      if (!needsThreads)
        for (const file of code) if (!this.imported.has(file)) this.imported.set(file, "");
      const died = rootProblem(`a worker died of this configuration: ${inWords(outcome)}`);
      return this.reject(outcome.died === null ? loaded.locate(outcome.problems) : [died]);
    }
    await this.services.apply(config);
    this.imported = needsThreads ? hashes : new Map([...this.imported, ...hashes]);
    this.inEffect(loaded, next.version, code);
    return { ok: true, version: next.version };
  }

  private inEffect(loaded: Loaded, version: number, code: readonly string[]): void {
    const { config, origin } = loaded;
    const isFirst = this.applied === null;
    this.applied = { version, config, origin, appliedAtMs: Date.now(), loaded };
    this.lastRejected = null;
    this.metrics.reloaded("applied");
    this.log.info(isFirst ? "configuration in effect" : "new configuration in effect", {
      version,
      origin,
    });
    const wanted = config.gateway?.limits.connections ?? 0;
    if (wanted > this.connections) {
      this.log.info("limits.connections is more than the descriptors of this process carry", {
        wanted,
        carried: this.connections,
      });
    }
    this.code = code;
    void this.noteCertificates(config);
    this.onFiles([...certificateFiles(config), ...code]);
  }

  private async noteCertificates(config: Config): Promise<void> {
    const ends = new Map<string, number>();
    for (const one of await describeCertificates(config)) {
      if ("error" in one) continue;
      const name = one.names[0] ?? one.subject;
      ends.set(name, Math.min(ends.get(name) ?? Infinity, Date.parse(one.notAfter)));
    }
    this.metrics.certificates = ends;
  }

  private reject(
    problems: readonly (Problem & { line?: number; column?: number; file?: string })[],
  ): ApplyResult {
    this.lastRejected = { atMs: Date.now(), problems };
    this.metrics.reloaded("rejected");
    this.log.error("configuration rejected: the one before stays in effect", {
      problems: problems.map(({ file, line, column, message }) =>
        file === undefined || !line ? message : `${file}:${line}:${column}: ${message}`,
      ),
    });
    return { ok: false, problems };
  }

  private receive(thread: WorkerThread, message: FromWorker): void {
    switch (message.type) {
      case "ready":
        return this.metrics.attach(thread.id, message.page);
      case "series":
        for (const one of message.series) this.metrics.announce(thread.id, one);
        return;
      case "log":
        for (const record of message.records) this.log.record(record);
        return;
      case "access":
        return this.log.access(message.lines);
      case "exhausted": {
        this.log.error(`worker ${thread.slot} is replaced: its memory stays full`, {
          worker: thread.slot,
        });
        const limitMs = this.applied?.config.drainTimeoutMs ?? 0;
        return void this.workers.renew(thread, limitMs);
      }
      case "refused":
        return this.refused.add(message.callers);
      default:
    }
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.turn.then(work);
    this.turn = done.catch(() => undefined);
    return done;
  }
}

/** Living threads at most: every worker, and those that it replaces and that still drain. */
const threadLimit = 1024;
/** 24 h. */
const ticketKeysLastMs = 86_400_000;

function workerCount(config: Config): number {
  return config.workers === "auto" ? os.availableParallelism() : config.workers;
}

function rootProblem(message: string): Problem {
  return { path: [], at: "value", message };
}

async function refusal(problems: readonly Problem[]): Promise<CommandError> {
  const { formatProblems } = await import("../control/load.ts");
  const text = formatProblems(problems as never, { color: process.stderr.isTTY === true });
  return new CommandError(exitCodes.input, text.trimEnd());
}
