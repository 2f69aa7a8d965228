/** Callers of one WebSocket each, over HTTP/1.1 and over HTTP/2, that can do everything a caller can. */

import assert from "node:assert/strict";
import {
  block,
  ErrorCode,
  Flag,
  frame,
  FrameClient,
  FrameType,
} from "../proxy/http2/frame-client.ts";
import type { Lane } from "./lanes.ts";

/** The answer to {@link asking}. */
export const switching =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/** What makes a GET of HTTP/1.1 ask for a WebSocket: the key of RFC 6455 section 1.3. */
export const asking = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/** One WebSocket's caller, whatever it came over. */
export interface Caller {
  /** Bytes that came through the tunnel. */
  readonly received: string;
  send(bytes: string): void;
  /** Nothing more will be sent. */
  end(): void;
  abort(): void;
  until(what: string, check: () => boolean): Promise<void>;
  /** The other side has ended its bytes. */
  readonly ended: boolean;
  /** It was cut, and that could not be taken for an end. */
  readonly aborted: boolean;
  [Symbol.dispose](): void;
}

/** `early` are bytes that ride with the handshake; `status`, when it is not the switch. */
export type Open = (lane: Lane, options?: { early?: string; status?: number }) => Promise<Caller>;

/** By Upgrade. */
export const over1: Open = async (lane, { early = "", status = 101 } = {}) => {
  const client = await lane.connect();
  await client.send(lane.head("GET /ws", ...asking) + early);
  if (status !== 0) assert.equal((await client.response()).status, status);
  return {
    get received() {
      return client.rest;
    },
    send: (bytes) => void client.socket.write(Buffer.from(bytes, "latin1")),
    end: () => client.end(),
    abort: () => client.reset(),
    until: (what, check) => client.until(what, check),
    get ended() {
      return client.ended && client.error === null;
    },
    get aborted() {
      return client.error?.code === "ECONNRESET";
    },
    [Symbol.dispose]: () => client.destroy(),
  };
};

/** By extended CONNECT (RFC 8441). */
export const over2: Open = async (lane, { early = "", status = 200 } = {}) => {
  const client = await FrameClient.connect(lane.gateway.port);
  client.authority = lane.host;
  const head = block(
    [":method", "CONNECT"],
    [":protocol", "websocket"],
    [":scheme", "http"],
    [":path", "/ws"],
    [":authority", lane.host],
    ["sec-websocket-version", "13"],
  );
  const bytes = (text: string, flags = 0): Buffer =>
    frame(FrameType.data, flags, 1, Buffer.from(text, "latin1"));
  client.send(
    frame(FrameType.headers, Flag.endHeaders, 1, head),
    ...(early === "" ? [] : [bytes(early)]),
  );
  if (status !== 0) assert.equal(await client.status(1), status === 101 ? 200 : status);
  const own = (type: number) =>
    client.frames.filter((one) => one.type === type && one.streamId === 1);
  return {
    get received() {
      return own(FrameType.data)
        .map((one) => one.payload.toString("latin1"))
        .join("");
    },
    send: (text) => client.send(bytes(text)),
    end: () => client.send(bytes("", Flag.endStream)),
    abort: () =>
      client.send(frame(FrameType.rstStream, 0, 1, Buffer.from([0, 0, 0, ErrorCode.cancel]))),
    until: (what, check) => client.until(what, check),
    get ended() {
      return own(FrameType.data).some((one) => (one.flags & Flag.endStream) !== 0);
    },
    get aborted() {
      return own(FrameType.rstStream).some((one) => one.payload[3] === ErrorCode.cancel);
    },
    [Symbol.dispose]: () => client[Symbol.dispose](),
  };
};
