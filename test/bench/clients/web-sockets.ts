/**
 * A client of many WebSockets, each with one message on its way at a time: sent, answered, sent again. Standard error
 * says `open` after the handshakes and `over` after the last message.
 */

import crypto from "node:crypto";
import net from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { percentile } from "./run-client.ts";
import { clientMessage, cutMessages } from "./web-socket-frames.ts";

/** One JSON argument. */
export interface WebSocketsOptions {
  readonly port: number;
  readonly connections: number;
  /** Payload of a message, at most 125. */
  readonly bytes: number;
  readonly seconds: number;
}

/** Printed as one line of JSON. */
export interface WebSocketsResult {
  /** Messages that went there, and as many that came back. */
  readonly messages: number;
  /** Connections lost or refused, answers of another length. */
  readonly errors: number;
  readonly seconds: number;
  /** Milliseconds there and back. */
  readonly p99: number;
}

const options = JSON.parse(process.argv[2]!) as WebSocketsOptions;
const message = clientMessage(options.bytes);
const trips: number[] = [];
let errors = 0;
let over = false;

function open(): Promise<net.Socket> {
  return new Promise((resolve) => {
    const socket = net.connect({ port: options.port, host: "127.0.0.1", noDelay: true });
    let head = "";
    const failed = (): void => {
      if (!over) errors++;
      socket.destroy();
      resolve(socket);
    };
    const onHead = (chunk: Buffer): void => {
      head += chunk.toString("latin1");
      if (!head.includes("\r\n\r\n")) return;
      socket.off("data", onHead);
      if (head.startsWith("HTTP/1.1 101 ")) resolve(socket);
      else failed();
    };
    socket.on("connect", () => {
      const key = crypto.randomBytes(16).toString("base64");
      socket.write(
        `GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
      );
    });
    socket.on("data", onHead);
    socket.on("error", failed);
    socket.on("end", failed);
  });
}

function talk(socket: net.Socket): void {
  let rest: Buffer = Buffer.alloc(0);
  let sentMs = performance.now();
  socket.on("data", (chunk: Buffer) => {
    rest = cutMessages(rest.length === 0 ? chunk : Buffer.concat([rest, chunk]), (length) => {
      if (length !== options.bytes) errors++;
      const nowMs = performance.now();
      trips.push(nowMs - sentMs);
      sentMs = nowMs;
      if (!over) socket.write(message);
    });
  });
  socket.write(message);
}

const sockets: net.Socket[] = [];
while (sockets.length < options.connections) sockets.push(await open());
process.stderr.write("open\n");
const startMs = performance.now();
for (const socket of sockets) if (!socket.destroyed) talk(socket);
await delay(options.seconds * 1000);
over = true;
process.stderr.write("over\n");
const result: WebSocketsResult = {
  messages: trips.length,
  errors,
  seconds: (performance.now() - startMs) / 1000,
  p99: percentile(
    trips.sort((a, b) => a - b),
    0.99,
  ),
};
for (const socket of sockets) socket.destroy();
process.stdout.write(JSON.stringify(result), () => process.exit(0));
