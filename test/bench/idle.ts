/** Memory for each connection that has asked once and then waits. */

import net from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { enter, leave, type Bench, type Case, type Contestant } from "./bench.ts";
import { AnswerReader } from "./clients/answer-reader.ts";
import { load } from "./load.ts";
import { warmsUp } from "./peers/peers.ts";
import { figure, type CaseResult, type Row } from "./report.ts";

const count = 10_000;
/** Connections being opened at a time. */
const width = 50;
const request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/** Makes the case; one contestant at a time, since what is measured stays the same however busy the machine is. */
export function idleCase(contestants: readonly Contestant[]): Case {
  const title = `memory in RAM for each of ${count.toLocaleString("en")} idle connections, each after one request`;
  return {
    name: "idle",
    title,
    run: async (bench): Promise<CaseResult> => {
      const rows: Row[] = [];
      const missing: string[] = [];
      for (const contestant of contestants) {
        if (bench.only !== null && !bench.only.some((word) => contestant.label.includes(word)))
          continue;
        const row = await measure(bench, contestant);
        if (typeof row === "string") missing.push(row);
        else rows.push(row);
      }
      const columns = ["KiB/connection", "MiB before", "MiB with them", "MiB after they closed"];
      return { name: "idle", title, base: null, columns, rows, missing };
    },
  };
}

async function measure(bench: Bench, contestant: Contestant): Promise<Row | string> {
  const entrant = await enter(bench, contestant);
  if (typeof entrant === "string") return entrant;
  const { program } = entrant;
  // code, pools and heap have their size before anything is weighed
  const seconds = warmsUp.includes(contestant.peer) ? bench.warmSeconds : 1;
  await load(bench.work, { url: entrant.url, connections: 64, seconds });
  await settle();
  const before = program.residentBytes();
  const sockets: net.Socket[] = [];
  let begun = 0;
  const lane = async (): Promise<void> => {
    while (begun++ < count) {
      const socket = await open(entrant.port);
      if (socket !== null) sockets.push(socket);
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  await settle();
  const during = program.residentBytes();
  for (const socket of sockets) socket.destroy();
  await settle();
  const after = program.residentBytes();
  await leave([entrant]);
  const mib = (bytes: number) => figure(bytes / 1024 / 1024, 1);
  return {
    label: contestant.label,
    figures: [figure((during - before) / count / 1024, 1), mib(before), mib(during), mib(after)],
    errors: count - sockets.length,
  };
}

/** Lets timers of the proxies (collectors of garbage, trims) run. */
async function settle(): Promise<void> {
  await delay(2500);
}

/** Connects and asks once; null when that fails. */
function open(port: number): Promise<net.Socket | null> {
  return new Promise((resolve) => {
    const reader = new AnswerReader();
    const socket = net.connect(port, "127.0.0.1", () => socket.write(request));
    socket.on("data", (chunk: Buffer) => {
      const status = reader.feed(chunk);
      if (status !== 0) resolve(status === 200 ? socket : null);
    });
    socket.on("error", () => resolve(null));
    socket.on("close", () => resolve(null));
  });
}
