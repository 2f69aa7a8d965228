/** `weft demo`: a gateway, a small mesh behind it and the dashboard, on one machine, from nothing (CONTRACT section 10). */

import { once } from "node:events";
import type { Server } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createAuthority, issueCertificate } from "../control/authority/authority.ts";
import { wholeNumber } from "./args.ts";
import type { Arguments } from "./command.ts";
import { createChaos } from "./demo-chaos.ts";
import { cacheCode } from "./demo-code.ts";
import { demoIdentities, demoPortCount, planDemo, type DemoPlan } from "./demo-plan.ts";
import { DemoProcess, waitForAnswer } from "./demo-process.ts";
import { demoScreen } from "./demo-screen.ts";
import { CommandError, exitCodes } from "./exit.ts";
import { freePorts, portRefusal } from "./free-ports.ts";

const startLimitMs = 60_000;
/** Children drain for up to 2 s (`drainTimeout` of their configurations); then they are cut. */
const endLimitMs = 3500;
/** Ctrl-C may reach us twice, from the terminal and from npm: within this time it is one. */
const sameSignalMs = 500;

/** Runs until SIGINT, SIGTERM or SIGHUP; resolves to the exit code when every child has ended. */
export async function demo(args: Arguments): Promise<number> {
  const port = await choosePort(args, "port", 8080);
  const adminPort = await choosePort(args, "admin-port", 9901);
  if (port === adminPort) {
    throw new CommandError(exitCodes.usage, `weft demo: --port and --admin-port are both ${port}`);
  }
  const stop = new StopSignal();
  const folder = await mkdtemp(path.join(tmpdir(), "weft-demo-"));
  const family = new Family();
  let starting = Promise.resolve();
  try {
    starting = start(family, { port, adminPort, folder }, stop.signal);
    await Promise.race([starting, stop.asked]);
    if (!stop.isAsked) process.stdout.write(demoScreen(port, adminPort));
    await stop.asked;
    return (await family.end(stop.again)) ? exitCodes.ok : exitCodes.input;
  } catch (error) {
    if (error instanceof CommandError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new CommandError(exitCodes.internal, `weft demo: ${reason}`);
  } finally {
    stop.dispose();
    await family.end(Promise.resolve());
    // It may be in the middle of writing a certificate.
    await starting.catch(() => {});
    await rm(folder, { recursive: true, force: true });
  }
}

/** Where the user finds the demo, and where it may write. */
interface DemoSetting {
  readonly port: number;
  readonly adminPort: number;
  readonly folder: string;
}

/** Starts everything at once and waits until the first page is there. Stops early when `signal` aborts. */
async function start(family: Family, setting: DemoSetting, signal: AbortSignal): Promise<void> {
  const { folder } = setting;
  const environment = await cacheCode(folder);
  await createAuthority(folder, "weft.local");
  // One after the other: each writes the same bundle beside its own files.
  for (const service of demoIdentities) {
    if (signal.aborted) return;
    await issueCertificate({ service, ca: folder, out: folder });
  }
  const ports = await freePorts(demoPortCount, Math.random);
  if (signal.aborted) return;
  const plan = planDemo({ ...setting, certificates: folder, environment }, ports);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(startLimitMs)]);
  await family.start(plan);
  await Promise.all(family.processes.map((one) => one.ready(limit)));
  await waitForAnswer(`http://127.0.0.1:${setting.port}/`, limit);
}

/** The port that an option names; 0 picks a free one. A taken one is named, with exit code 3. */
async function choosePort(args: Arguments, option: string, fallback: number): Promise<number> {
  const port = wholeNumber(args, option, [0, 65_535]) ?? fallback;
  if (port === 0) return (await freePorts(1, Math.random))[0]!;
  const refusal = await portRefusal("127.0.0.1", port);
  if (refusal === null) return port;
  const why =
    refusal === "EADDRINUSE" ? "is taken by another process" : `cannot be used (${refusal})`;
  throw new CommandError(
    exitCodes.connect,
    `weft demo: port ${port} on 127.0.0.1 ${why}; --${option} N picks another`,
  );
}

/** Every child of the demo, and the way to end them all. */
class Family {
  readonly processes: DemoProcess[] = [];
  #chaos: Server | null = null;
  /** Whatever happens to us, no child stays behind. */
  readonly #cutAll = (): void => this.processes.forEach((one) => one.signal("SIGKILL"));

  /** Spawns all at once; the order in which they get ready does not matter. */
  async start(plan: DemoPlan): Promise<void> {
    process.once("exit", this.#cutAll);
    this.processes.push(new DemoProcess(plan.gateway));
    const instances = plan.instances.map(({ name, specs }) => {
      const processes = specs.map((spec) => new DemoProcess(spec));
      this.processes.push(...processes);
      return { name, processes };
    });
    const orders = instances.filter(({ name }) => name.startsWith("orders-"));
    this.#chaos = createChaos(orders).listen(plan.chaosPort, "127.0.0.1");
    await once(this.#chaos, "listening");
  }

  /** Asks all to end, waits, then cuts what is left; all at once when `hurry` resolves. False: in a hurry. */
  async end(hurry: Promise<void>): Promise<boolean> {
    this.#chaos?.close();
    this.#chaos?.closeAllConnections();
    for (const one of this.processes) one.signal("SIGTERM");
    const ended = Promise.all(this.processes.map((one) => one.ended)).then(() => true);
    const limit = Promise.withResolvers<boolean>();
    const timer = setTimeout(limit.resolve, endLimitMs, true);
    const inPeace = await Promise.race([ended, limit.promise, hurry.then(() => false)]);
    clearTimeout(timer);
    this.#cutAll();
    await ended;
    process.off("exit", this.#cutAll);
    return inPeace;
  }
}

/** The user's wish to end: the first signal, and the second. */
class StopSignal {
  readonly #controller = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  readonly #second = Promise.withResolvers<void>();
  #firstAtMs = 0;

  readonly #onSignal = (): void => {
    if (!this.isAsked) {
      this.#firstAtMs = performance.now();
      this.#controller.abort();
      this.#first.resolve();
    } else if (performance.now() - this.#firstAtMs > sameSignalMs) {
      this.#second.resolve();
    }
  };

  constructor() {
    for (const name of stopSignals) process.on(name, this.#onSignal);
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }
  get isAsked(): boolean {
    return this.#controller.signal.aborted;
  }
  /** Resolves at the first signal. */
  get asked(): Promise<void> {
    return this.#first.promise;
  }
  /** Resolves at the second. */
  get again(): Promise<void> {
    return this.#second.promise;
  }
  dispose(): void {
    for (const name of stopSignals) process.off(name, this.#onSignal);
  }
}

const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
