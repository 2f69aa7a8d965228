/** All contestants by name, and how one is started. */

import fs from "node:fs";
import path from "node:path";
import { hasProgram, Program } from "../process.ts";
import { caddy } from "./caddy.ts";
import { envoy } from "./envoy.ts";
import { haproxy } from "./haproxy.ts";
import { nginx } from "./nginx.ts";
import { nodePeer, whyNoPackages } from "./node-peers.ts";
import { coreOf, type Launch, type Peer, type Task } from "./task.ts";
import { traefik } from "./traefik.ts";
import { weft } from "./weft.ts";

/** The floor: plain TCP, no TLS. */
function relay(task: Task): Launch | null {
  if (task.tls !== null) return null;
  const script = path.join(import.meta.dirname, "../relay.ts");
  return {
    command: [process.execPath, script, String(task.port), ...task.upstreams.map(String)],
  };
}

const peers = {
  weft,
  haproxy,
  nginx,
  envoy,
  traefik,
  caddy,
  "http-proxy": (task: Task) => nodePeer("http-proxy", task),
  "http-proxy-3": (task: Task) => nodePeer("http-proxy-3", task),
  undici: (task: Task) => nodePeer("undici", task),
  "http2-undici": (task: Task) => nodePeer("http2-undici", task),
  fastify: (task: Task) => nodePeer("fastify", task),
  relay,
} satisfies Record<string, Peer>;

export type PeerName = keyof typeof peers;

/** Those that are one program, which has to be on PATH. */
const programs: readonly PeerName[] = ["haproxy", "nginx", "envoy", "traefik", "caddy"];
/** Those that come from the package registry. */
const fromRegistry: readonly PeerName[] = [
  "http-proxy",
  "http-proxy-3",
  "undici",
  "http2-undici",
  "fastify",
];
/** Those with a just-in-time compiler: they get a longer warm-up. */
export const warmsUp: readonly PeerName[] = ["weft", "relay", ...fromRegistry];

/** Starts the proxy; a text says why it cannot take part. */
export async function startPeer(name: PeerName, task: Task): Promise<Program | string> {
  if (programs.includes(name) && !hasProgram(name)) return "not on PATH";
  const why = fromRegistry.includes(name) ? whyNoPackages() : null;
  if (why !== null) return why;
  fs.mkdirSync(task.work, { recursive: true });
  const launch = (peers[name] as Peer)(task);
  if (launch === null) return "cannot do this";
  try {
    return await Program.start(name, launch.command, {
      core: coreOf(task),
      ports: [task.port],
      env: launch.env ?? {},
    });
  } catch (error) {
    return (error as Error).message;
  }
}
