/** Origins of single cases: small programs on raw sockets, so that what they cost leaves room for the load on their core. */

import path from "node:path";
import { freePorts } from "../../support/ports.ts";
import { otherCore, Program } from "../process.ts";

/** What such a program answers: plain text over HTTP/2, a gRPC message with trailers over HTTP/2, or WebSocket echoes. */
export type OriginKind = "text" | "grpc" | "web-socket";

/** One that runs. */
export interface Origin {
  readonly ports: readonly number[];
  readonly program: Program;
}

/** Starts one, on three ports. */
export async function startOwnOrigin(kind: OriginKind): Promise<Origin> {
  const ports = await freePorts(3);
  const script = kind === "web-socket" ? "web-socket.ts" : "http2.ts";
  const args = [...(kind === "web-socket" ? [] : [kind]), ...ports.map(String)];
  const command = [process.execPath, path.join(import.meta.dirname, script), ...args];
  const program = await Program.start(`${kind} origin`, command, { core: otherCore, ports });
  return { ports, program };
}
