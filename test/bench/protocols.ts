/** The cases of HTTP/2, gRPC, WebSocket and TCP: as `h1`, with another load, and often another origin. */

import fs from "node:fs";
import http2 from "node:http2";
import path from "node:path";
import type { Bench, Case, Contestant, Entrant } from "./bench.ts";
import { runClient } from "./clients/run-client.ts";
import type { WebSocketsOptions, WebSocketsResult } from "./clients/web-sockets.ts";
import { loadHttp2, http2Connections, http2Streams } from "./load-http2.ts";
import type { LoadResult } from "./load.ts";
import { throughputCase } from "./throughput.ts";

const width = `${http2Connections} connections x ${http2Streams} streams`;

/** A message of 64 bytes behind its prefix, and what goes with it. */
const grpcMessage = Buffer.concat([Buffer.from([0, 0, 0, 0, 64]), Buffer.alloc(64, "x")]);
const grpcFields = { "content-type": "application/grpc", te: "trailers" };

/** What weft costs with the origin of `h2`, beside what it costs with another one. */
const plain: Contestant = {
  label: "weft, HTTP/1.1 origin",
  peer: "weft",
  task: { up: "http1" },
  isPlain: true,
};

/** @param servers those that speak all protocols */
export function protocolCases(servers: readonly Contestant[]): readonly Case[] {
  return [
    throughputCase({
      name: "h2",
      title: `HTTP/2 (h2c), ${width}, 64-byte answers, origin of HTTP/1.1`,
      base: "haproxy",
      task: { down: "http2" },
      push: get,
      contestants: [...servers, { label: "node:http2 + undici", peer: "http2-undici" }],
    }),
    throughputCase({
      name: "h2h2",
      title: "as h2, origin of HTTP/2",
      base: "haproxy",
      task: { down: "http2", up: "http2" },
      origin: "text",
      push: get,
      contestants: [...servers, plain],
    }),
    throughputCase({
      name: "grpc",
      title: `gRPC, unary, ${width}, messages of 64 bytes, trailers`,
      base: "haproxy",
      task: { down: "http2", up: "http2", grpc: true },
      origin: "grpc",
      check: callOnce,
      push: (bench, entrant, seconds) =>
        entrant.contestant.isPlain === true
          ? get(bench, entrant, seconds)
          : call(bench, entrant, seconds),
      contestants: [...servers, { ...plain, label: "weft, GET, HTTP/1.1 origin" }],
    }),
    throughputCase({
      name: "websocket",
      title: "WebSocket, 64 connections, a message of 64 bytes there and one back",
      base: "relay (floor)",
      unit: "message",
      task: { upgrades: true },
      origin: "web-socket",
      push: talk,
      contestants: [
        ...servers,
        { label: "http-proxy", peer: "http-proxy" },
        { label: "relay (floor)", peer: "relay" },
      ],
    }),
    throughputCase({
      name: "tcp",
      title: "TCP, 64 connections, requests of HTTP/1.1 that nobody reads, 64-byte answers",
      base: "relay (floor)",
      task: { down: "tcp" },
      contestants: [...servers, { label: "relay (floor)", peer: "relay" }],
    }),
  ];
}

function get(_bench: Bench, entrant: Entrant, seconds: number): Promise<LoadResult> {
  return loadHttp2({ url: entrant.url, seconds });
}

function call(bench: Bench, entrant: Entrant, seconds: number): Promise<LoadResult> {
  const bodyFile = path.join(bench.work, "grpc-message");
  fs.writeFileSync(bodyFile, grpcMessage);
  const url = `${entrant.url}/bench.Echo/Unary`;
  return loadHttp2({ url, seconds, bodyFile, headers: grpcFields });
}

/** Null when one call comes back whole: the message, and its status in the trailers. */
function callOnce(entrant: Entrant): Promise<string | null> {
  if (entrant.contestant.isPlain === true) return Promise.resolve(null);
  return new Promise((resolve) => {
    const session = http2.connect(entrant.url);
    const end = (fault: string | null): void => {
      session.destroy();
      resolve(fault);
    };
    session.on("error", (error) => end(error.message));
    const head = { ":method": "POST", ":path": "/bench.Echo/Unary", ...grpcFields };
    const stream = session.request(head);
    let bytes = 0;
    let status: unknown;
    stream.on("data", (chunk: Buffer) => (bytes += chunk.length));
    stream.on("trailers", (trailers) => (status = trailers["grpc-status"]));
    stream.on("error", (error) => end(error.message));
    stream.on("end", () => {
      const isWhole = bytes === grpcMessage.length && status === "0";
      end(isWhole ? null : `${bytes} bytes with grpc-status ${String(status)}`);
    });
    stream.end(grpcMessage);
  });
}

async function talk(_bench: Bench, entrant: Entrant, seconds: number): Promise<LoadResult> {
  const options: WebSocketsOptions = { port: entrant.port, connections: 64, bytes: 64, seconds };
  const used = { open: 0, over: 0 };
  const result = await runClient<WebSocketsResult>("web-sockets", options, (text) => {
    const now = entrant.program.cpuSeconds();
    if (text.includes("open")) used.open = now;
    if (text.includes("over")) used.over = now;
  });
  // each went there and one came back
  const requests = result.messages * 2;
  const { errors, p99, seconds: lasted } = result;
  const cpuSeconds = used.over - used.open;
  return { requests, errors, seconds: lasted, medianMs: Number.NaN, p99Ms: p99, cpuSeconds };
}
