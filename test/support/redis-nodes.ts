/** A Redis cluster of three masters for tests, made by `redis-cli --cluster create`, gone with the test. */

import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually } from "./eventually.ts";
import { freePorts } from "./ports.ts";
import { RedisServer } from "./redis.ts";

const run = promisify(execFile);

export class RedisCluster {
  readonly nodes: readonly RedisServer[];
  private readonly folder: string;

  private constructor(nodes: readonly RedisServer[], folder: string) {
    this.nodes = nodes;
    this.folder = folder;
  }

  /** Every slot is served when it resolves. */
  static async start(): Promise<RedisCluster> {
    const folder = await mkdtemp(join(tmpdir(), "weft-redis-"));
    const ports = await freePorts(6);
    // a bus without a port of its own would be 10000 above the node's, among those of outgoing connections
    const settings = (i: number): string[] =>
      `--cluster-enabled yes --cluster-node-timeout 2000 --cluster-port ${ports[i + 3]} --dir ${folder} --cluster-config-file node-${i}.conf`.split(
        " ",
      );
    const starting = await Promise.allSettled(
      [0, 1, 2].map((i) => RedisServer.start(ports[i], settings(i))),
    );
    const nodes = starting.filter((one) => one.status === "fulfilled").map((one) => one.value);
    const cluster = new RedisCluster(nodes, folder);
    try {
      for (const one of starting) if (one.status === "rejected") throw one.reason;
      await cluster.form();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  private async form(): Promise<void> {
    const { nodes } = this;
    const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`);
    await run("redis-cli", ["--cluster", "create", ...addresses, "--cluster-yes"]);
    await eventually("the cluster", async () => {
      const states = await Promise.all(
        nodes.map(({ port }) => run("redis-cli", ["-p", String(port), "cluster", "info"])),
      );
      return states.every(({ stdout }) => stdout.includes("cluster_state:ok"));
    });
  }

  get urls(): string[] {
    return this.nodes.map(({ url }) => url);
  }

  /** Moves slots, with what is in them, from one node to another; resolves when they have moved. */
  async move(slots: number, from: number, to: number): Promise<void> {
    const ids = await Promise.all(
      [from, to].map((i) =>
        run("redis-cli", ["-p", String(this.nodes[i]!.port), "cluster", "myid"]),
      ),
    );
    const [source, target] = ids.map(({ stdout }) => stdout.trim());
    const moving = ["--cluster-from", source!, "--cluster-to", target!];
    const count = ["--cluster-slots", String(slots), "--cluster-yes"];
    const address = `127.0.0.1:${this.nodes[from]!.port}`;
    await run("redis-cli", ["--cluster", "reshard", address, ...moving, ...count]);
  }

  pause(): void {
    for (const node of this.nodes) node.pause();
  }

  resume(): void {
    for (const node of this.nodes) node.resume();
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
    await rm(this.folder, { recursive: true, force: true });
  }
}
