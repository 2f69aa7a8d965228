/** Configurations exchanged under full load: what fails, and how long until a new route serves. */

import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { enter, leave, type Case, type Entrant } from "./bench.ts";
import { percentile } from "./clients/run-client.ts";
import { load, type LoadOptions } from "./load.ts";
import { weftConfig } from "./peers/weft.ts";
import { figure, median, type CaseResult } from "./report.ts";

const title =
  "weft under full load (64 keep-alive connections, and 8 with a connection for each request) while its file changes";

export const reloadCase: Case = {
  name: "reload",
  title,
  run: async (bench): Promise<CaseResult> => {
    const columns = [
      "reloads",
      "requests",
      "failed",
      "new route serves after ms (median)",
      "slowest ms",
    ];
    const frame = { name: "reload", title, base: null, columns };
    const entrant = await enter(bench, { label: "weft", peer: "weft" });
    if (typeof entrant === "string") return { ...frame, rows: [], missing: [entrant] };
    const keep: LoadOptions = { url: entrant.url, connections: 64, seconds: bench.warmSeconds };
    await load(bench.work, keep);
    const reloads = bench.rounds * 8;
    // long enough for all reloads; wrk is asked to stop when they are done
    const done = new AbortController();
    const busy = [
      load(bench.work, { ...keep, seconds: 55, signal: done.signal }),
      load(bench.work, {
        ...keep,
        seconds: 55,
        connections: 8,
        headers: { connection: "close" },
        signal: done.signal,
      }),
    ];
    const waits: number[] = [];
    for (let i = 0; i < reloads; i++) {
      waits.push(await addRoute(entrant, bench.upstreams, i));
      await delay(50);
    }
    done.abort();
    const results = await Promise.all(busy);
    await leave([entrant]);
    const failed = results.reduce((sum, each) => sum + each.errors, 0);
    const requests = results.reduce((sum, each) => sum + each.requests, 0);
    waits.sort((a, b) => a - b);
    const row = {
      label: "weft",
      figures: [
        figure(reloads, 0),
        figure(requests, 0),
        figure(failed, 0),
        figure(median(waits), 0),
        figure(percentile(waits, 1), 0),
      ],
      errors: failed,
    };
    return { ...frame, rows: [row], missing: [] };
  },
};

/** Milliseconds from the write of the file to the first answer by the new route. */
async function addRoute(
  entrant: Entrant,
  upstreams: readonly number[],
  number: number,
): Promise<number> {
  const task = {
    work: entrant.work,
    port: entrant.port,
    adminPort: entrant.adminPort,
    upstreams,
    tls: null,
  };
  const route = `  - { name: new${number}, match: { path: { exact: /new${number} } }, respond: { status: 299, body: new } }`;
  const file = path.join(entrant.work, "weft.yaml");
  fs.writeFileSync(`${file}.next`, weftConfig(task, [route]));
  const startMs = performance.now();
  fs.renameSync(`${file}.next`, file);
  while ((await status(`${entrant.url}/new${number}`)) !== 299) {
    if (performance.now() - startMs > 10_000)
      throw new Error("a new route does not serve after 10 s");
  }
  return performance.now() - startMs;
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

/** Null: no answer. */
function status(url: string): Promise<number | null> {
  return new Promise((resolve) => {
    const asked = http.get(url, { agent }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode ?? null));
      answer.on("error", () => resolve(null));
    });
    asked.on("error", () => resolve(null));
  });
}
