/** `POST /chaos/kill` of the demo: ends one instance of orders the hard way, app and sidecar. */

import http from "node:http";
import type { DemoProcess } from "./demo-process.ts";

/** An instance: the app and the sidecar beside it. */
export interface Instance {
  readonly name: string;
  readonly processes: readonly DemoProcess[];
}

/** Its server, to be listened on 127.0.0.1; the last instance is never ended. */
export function createChaos(instances: readonly Instance[]): http.Server {
  return http.createServer((request, response) => {
    request.resume();
    const isKill = request.method === "POST" && request.url === "/chaos/kill";
    const answer = isKill ? kill(instances) : Promise.resolve({ status: 404, body: {} });
    void answer.then(({ status, body }) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(`${JSON.stringify(body, null, 2)}\n`);
    });
  });
}

async function kill(instances: readonly Instance[]): Promise<{ status: number; body: object }> {
  const running = instances.filter(({ processes }) => processes.every((one) => one.end === null));
  const victim = running[0];
  if (victim === undefined || running.length === 1) {
    const detail = "only one instance of orders is left, and the demo keeps it";
    return { status: 409, body: { killed: null, left: running.map(({ name }) => name), detail } };
  }
  for (const one of victim.processes) one.signal("SIGKILL");
  await Promise.all(victim.processes.map((one) => one.ended));
  return {
    status: 200,
    body: { killed: victim.name, left: running.slice(1).map(({ name }) => name) },
  };
}
