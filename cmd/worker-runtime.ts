/** A worker thread: the data path of one core, on the snapshot in effect. */

import { randomFillSync } from "node:crypto";
import type { MessagePort } from "node:worker_threads";
import { ConfigProblems, buildSnapshot } from "../control/compile.ts";
import type { Config, Problem } from "../control/config.ts";
import { edgeTrust } from "../gateway/edge.ts";
import { inboundTrust, outboundTrust } from "../mesh/trust.ts";
import { onBug } from "../proxy/bugs.ts";
import { now, Wheel } from "../proxy/clock.ts";
import type { Dial, HeaderTrust, ServeEnv, ServeLimits } from "../proxy/exchange.ts";
import { flow } from "../proxy/handle.ts";
import { shedding } from "../proxy/shedding.ts";
import type { ListenerEnv } from "../proxy/listen/listener.ts";
import { isPeerRefusal } from "../proxy/listen/certificate.ts";
import { createAccessLog, type AccessLog } from "../proxy/observe/access-log.ts";
import { metricTable } from "../proxy/observe/metric-table.ts";
import { Metrics } from "../proxy/observe/metrics.ts";
import { ServiceMetrics } from "../proxy/observe/request-metrics.ts";
import { SharedState } from "../proxy/observe/shared.ts";
import { InstanceStore } from "../proxy/pipeline/instance-store.ts";
import type { Mode } from "../proxy/pipeline/plugin.ts";
import type { Endpoint } from "../proxy/service/endpoint.ts";
import { serveHttp } from "../proxy/serve.ts";
import { ServiceSet } from "../proxy/service/set.ts";
import type { Snapshot } from "../proxy/snapshot.ts";
import { Habit } from "../proxy/tunnel/habit.ts";
import { serveRelay, type RelayEnv } from "../proxy/tunnel/relay.ts";
import { createDial } from "../proxy/upstream/connect.ts";
import { closePool } from "../proxy/upstream/endpoint-pool.ts";
import { startHeartbeat } from "./heartbeat.ts";
import type { ListenPoint, PlaneName, ToWorker, WorkerStart } from "./protocol.ts";
import { createHostSource } from "./worker-host.ts";
import { WorkerIdentity, type PreparedIdentity } from "./worker-identity.ts";
import { WorkerMemory } from "./worker-memory.ts";
import { WorkerListeners, type ListenerNature } from "./worker-listeners.ts";
import { Outbox } from "./worker-outbox.ts";
import { WorkerTls, type PreparedTls } from "./worker-tls.ts";

/** A configuration that can be served from, and is not yet. */
interface Prepared {
  readonly version: number;
  readonly config: Config;
  readonly snapshot: Snapshot;
  readonly identity: PreparedIdentity;
  readonly tls: PreparedTls;
  readonly accessLog: AccessLog;
  readonly edgeTrust: HeaderTrust;
}

const modeOf: Readonly<Record<PlaneName, Mode>> = {
  edge: "gateway",
  outbound: "mesh-outbound",
  inbound: "mesh-inbound",
};

/** A sidecar's limits on its own app and on verified peers (research: mesh defaults). */
const meshLimits = {
  connections: 100_000,
  headerBytes: 60 * 1024,
  headerCount: 100,
  headerTimeoutMs: 60_000,
  idleTimeoutMs: 300_000,
};

/** Before the end of a drain: time for what is cut to be counted and logged. */
const CUT_BEFORE_MS = 250;

export class WorkerRuntime {
  private readonly start: WorkerStart;
  private readonly outbox: Outbox;
  private readonly wheel = new Wheel();
  private readonly shared: SharedState;
  private readonly metrics: Metrics;
  private readonly services: ServiceSet;
  private readonly instances: InstanceStore;
  private readonly identity: WorkerIdentity;
  private readonly tls: WorkerTls;
  private readonly dial: Dial;
  private readonly listeners: WorkerListeners;
  private readonly memory: WorkerMemory;
  private readonly envs = new Map<PlaneName, ServeEnv>();
  private prepared: Prepared | null = null;
  private current: Prepared | null = null;
  private draining = false;

  constructor(start: WorkerStart, port: MessagePort) {
    this.start = start;
    this.outbox = new Outbox(port, start.logLevel);
    onBug((error) =>
      this.outbox.error("internal error", {
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      }),
    );
    this.shared = SharedState.open(start.shared, { thread: start.thread });
    this.metrics = new Metrics({ announce: (series) => this.outbox.announce(series) });
    const ticketKeys = Buffer.from(start.ticketKeys);
    const refused = (reason: string): void => this.refused(reason);
    this.identity = new WorkerIdentity({ log: this.outbox, ticketKeys, refused });
    this.tls = new WorkerTls(ticketKeys);
    this.services = new ServiceSet({
      shared: this.shared,
      metrics: this.metrics,
      workers: start.workers,
      observer: {
        ejected: (endpoint, forMs, times) =>
          this.outbox.warn("endpoint ejected", {
            ...place(endpoint),
            forMs: Math.round(forMs),
            times,
          }),
        readmitted: (endpoint) => this.outbox.info("endpoint readmitted", place(endpoint)),
        removed: closePool,
      },
    });
    this.instances = new InstanceStore(createHostSource(this.metrics, this.shared, this.outbox));
    this.dial = createDial({ wheel: this.wheel, now });
    this.listeners = new WorkerListeners((point) => this.listenerEnv(point));
    this.wheel.start();
    this.memory = new WorkerMemory(this.outbox, () => this.outbox.post({ type: "exhausted" }));
    const delay = this.metrics.series(metricTable.eventLoopDelay.name);
    const isShedding = this.metrics.series(metricTable.shedding.name);
    // from now on the watchdog looks: a plugin may never return from its very first call
    this.shared.beat();
    startHeartbeat((seconds) => {
      this.shared.beat();
      this.metrics.values[delay] = seconds;
      this.memory.look();
      this.metrics.values[isShedding] = this.memory.isShort ? 1 : 0;
    });
  }

  /** Serves the first configuration; answers `ready` or `failed`. */
  async begin(): Promise<void> {
    const { version, config, points } = this.start;
    const problems = await this.prepare(version, config);
    if (problems !== null) return this.outbox.post({ type: "failed", problems });
    const problem = await this.commit(points);
    if (problem !== null) {
      const failure: Problem = { path: [], at: "value", message: problem };
      return this.outbox.post({ type: "failed", problems: [failure] });
    }
    this.outbox.post({ type: "ready", page: this.metrics.page });
  }

  async receive(message: ToWorker): Promise<void> {
    switch (message.type) {
      case "prepare": {
        const problems = await this.prepare(message.version, message.config);
        return this.outbox.post({ type: "prepared", version: message.version, problems });
      }
      case "commit": {
        const problem = await this.commit(message.points);
        return this.outbox.post({ type: "committed", version: message.version, problem });
      }
      case "abort":
        this.prepared?.snapshot.use.retire();
        this.prepared = null;
        return;
      case "adopt":
        return this.listeners.adopt(message.slot, message.points);
      case "release":
        return this.listeners.release(message.slot);
      case "log-level":
        this.outbox.level = message.level;
        return;
      case "ticket-keys": {
        const keys = Buffer.from(message.keys);
        this.tls.useTicketKeys(keys);
        return this.identity.useTicketKeys(keys);
      }
      case "drain":
        this.draining = true;
        await this.drain(message.limitMs);
        await this.instances.close();
        this.current?.accessLog.flush();
        return this.outbox.post({ type: "drained" });
    }
  }

  /** Lines that wait are handed over before the thread ends. */
  close(): void {
    this.current?.accessLog.flush();
    this.outbox.flush();
  }

  /** Builds everything beside what is in effect. Null: done, waiting for the commit. */
  private async prepare(version: number, config: Config): Promise<readonly Problem[] | null> {
    try {
      const identity = await this.identity.prepare(config);
      const tls = await this.tls.prepare(config);
      const accessLog = await createAccessLog(config.observe.accessLog, {
        write: (lines) => this.outbox.post({ type: "access", lines }),
        wallNow: () => Date.now(),
        random: Math.random,
      });
      const snapshot = await buildSnapshot(config, {
        mode: this.start.mode,
        version,
        services: this.services,
        instances: this.instances,
        identity: identity.identity,
      });
      const trust = edgeTrust(config.gateway?.trustedHops ?? 0);
      this.prepared = { version, config, snapshot, identity, tls, accessLog, edgeTrust: trust };
      return null;
    } catch (error) {
      if (error instanceof ConfigProblems) return error.problems;
      const message = error instanceof Error ? error.message : String(error);
      return [{ path: [], at: "value", message }];
    }
  }

  private async commit(points: readonly ListenPoint[]): Promise<string | null> {
    const next = this.prepared!;
    const before = this.current;
    this.prepared = null;
    next.identity.commit();
    next.tls.commit();
    next.snapshot.activate();
    this.current = next;
    before?.accessLog.flush();
    const problem = await this.listeners.apply(points, (point) => this.nature(point));
    before?.snapshot.use.retire();
    return problem;
  }

  /** Whoever is cut is told by a reset, and has a line in the log: the end of the process would tell nobody. */
  private async drain(limitMs: number): Promise<void> {
    const cutMs = limitMs - Math.min(CUT_BEFORE_MS, limitMs / 10);
    const timer = setTimeout(() => this.listeners.destroy(), cutMs).unref();
    await this.listeners.drain();
    clearTimeout(timer);
  }

  private nature(point: ListenPoint): ListenerNature {
    const { config, tls, identity } = this.current!;
    if (point.plane === "edge") {
      const listener = config.gateway?.listeners.find((one) => one.name === point.name);
      return {
        tls: tls.of(point.name),
        proxyProtocol: listener?.proxyProtocol ?? false,
        plainText: "refuse",
        detects: listener?.protocol === "auto",
      };
    }
    const isPermissive = config.mesh?.mtls === "permissive";
    return {
      tls: point.plane === "inbound" ? identity.identity : null,
      proxyProtocol: false,
      plainText: isPermissive ? "serve" : "refuse",
    };
  }

  private listenerEnv(point: ListenPoint): ListenerEnv {
    const { shared } = this;
    const habit = new Habit();
    return {
      wheel: this.wheel,
      now,
      log: this.outbox,
      serve: (transport, conn, secure) =>
        this.current!.snapshot.streams.has(point.name) && point.plane === "edge"
          ? serveRelay(transport, conn, this.relayEnv(point, habit), secure)
          : serveHttp(transport, conn, this.env(point.plane)),
      admit: () => {
        if (this.memory.isShort && this.current!.snapshot.streams.has(point.name)) return false;
        return shared.enterConnection(Math.min(this.limits().connections, this.start.connections));
      },
      turnedAway: () => {
        this.metrics.values[this.metrics.series(metricTable.turnedAway.name, [point.name])]! += 1;
      },
      release: () => shared.leaveConnection(),
      reclaim: () => {
        for (const service of this.services.services.values()) {
          for (const endpoint of service.endpoints) closePool(endpoint);
        }
      },
      refused: (reason) => this.refused(reason),
    };
  }

  private relayEnv(point: ListenPoint, habit: Habit): RelayEnv {
    const { log, accessLog, metrics, dial } = this.env(point.plane);
    return {
      wheel: this.wheel,
      log,
      accessLog,
      metrics,
      dial,
      habit,
      snapshot: () => this.current!.snapshot,
      serveHttp: (transport, conn) => serveHttp(transport, conn, this.env(point.plane)),
      now,
      newId,
    };
  }

  /** One for all connections, whatever they began with: an exchange asks for snapshot and trust once, at its begin. */
  private env(plane: PlaneName): ServeEnv {
    let env = this.envs.get(plane);
    if (env === undefined) this.envs.set(plane, (env = this.createEnv(plane)));
    return env;
  }

  private createEnv(plane: PlaneName): ServeEnv {
    const current = (): Prepared => this.current!;
    const limits = (): ServeLimits => this.limits();
    const { memory } = this;
    const meshTrust = plane === "outbound" ? outboundTrust() : inboundTrust();
    return {
      mode: modeOf[plane],
      wheel: this.wheel,
      get limits() {
        return limits();
      },
      get trust() {
        return plane === "edge" ? current().edgeTrust : meshTrust;
      },
      log: this.outbox,
      get accessLog() {
        return current().accessLog;
      },
      metrics: new ServiceMetrics(this.metrics, modeOf[plane]),
      dial: this.dial,
      snapshot: () => current().snapshot,
      plane: (snapshot) => snapshot.planes[plane]!,
      now,
      random: Math.random,
      isDraining: () => this.draining,
      get flow() {
        return memory.isShort ? shedding : flow;
      },
      newId,
    };
  }

  private limits(): ServeLimits & { readonly connections: number } {
    return this.current!.config.gateway?.limits ?? meshLimits;
  }

  private refused(reason: string): void {
    if (!isPeerRefusal(reason)) return;
    this.metrics.values[this.metrics.series(metricTable.peersRefused.name, [reason])]! += 1;
  }
}

function place(endpoint: Endpoint): { service: string; endpoint: string } {
  return { service: endpoint.service, endpoint: endpoint.address };
}

/** Ids drawn at once. */
const idBatch = 256;
const idBytes = Buffer.alloc(16 * idBatch);
let ids = "";
let idAt = 0;

/** 32 hex digits, never all zero. */
function newId(): string {
  if (idAt === ids.length) {
    ids = randomFillSync(idBytes).toString("hex");
    idAt = 0;
  }
  const id = ids.slice(idAt, (idAt += 32));
  return id === "00000000000000000000000000000000" ? newId() : id;
}
