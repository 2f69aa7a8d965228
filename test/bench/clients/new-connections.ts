/** A closed-loop client that makes a TLS 1.3 connection for each request, resumed by ticket or from scratch. */

import tls from "node:tls";
import { AnswerReader } from "./answer-reader.ts";

/** One JSON argument. */
export interface NewConnectionsOptions {
  readonly port: number;
  readonly seconds: number;
  /** At a time. */
  readonly connections: number;
  readonly resume: boolean;
}

/** Printed as one line of JSON. */
export interface NewConnectionsResult {
  readonly requests: number;
  readonly resumed: number;
  readonly errors: number;
}

const options = JSON.parse(process.argv[2]!) as NewConnectionsOptions;
const secureContext = tls.createSecureContext();
const request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/** One request on a connection of its own; its session is kept for the next. */
function ask(lane: { session: Buffer | undefined }): Promise<{ ok: boolean; resumed: boolean }> {
  return new Promise((resolve) => {
    const reader = new AnswerReader();
    const socket = tls.connect({
      port: options.port,
      host: "127.0.0.1",
      servername: "localhost",
      rejectUnauthorized: false,
      secureContext,
      minVersion: "TLSv1.3",
      ...(lane.session === undefined ? {} : { session: lane.session }),
    });
    let ok = false;
    let resumed = false;
    if (options.resume) socket.on("session", (session: Buffer) => (lane.session = session));
    socket.on("secureConnect", () => {
      resumed = socket.isSessionReused();
      socket.write(request);
    });
    socket.on("data", (chunk: Buffer) => {
      if (reader.feed(chunk) !== 200) return;
      ok = true;
      socket.end();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve({ ok, resumed }));
  });
}

let requests = 0;
let resumed = 0;
let errors = 0;
const endMs = performance.now() + options.seconds * 1000;
await Promise.all(
  Array.from({ length: options.connections }, async () => {
    const lane: { session: Buffer | undefined } = { session: undefined };
    while (performance.now() < endMs) {
      const answer = await ask(lane);
      requests++;
      if (!answer.ok) errors++;
      if (answer.resumed) resumed++;
    }
  }),
);
const result: NewConnectionsResult = { requests, resumed, errors };
process.stdout.write(JSON.stringify(result), () => process.exit(0));
