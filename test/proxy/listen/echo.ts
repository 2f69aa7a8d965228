/** A listener that answers what it gets, on a clock that the test moves. */

import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import type { TestContext } from "node:test";
import { Wheel } from "../../../proxy/clock.ts";
import type { ConnectionInfo } from "../../../proxy/exchange.ts";
import { Listener, type ListenerEnv, type ListenerSpec } from "../../../proxy/listen/listener.ts";
import type { Log } from "../../../proxy/pipeline/plugin.ts";

/** Time that passes only when told. */
export class TestClock {
  ms = 0;
  readonly wheel = new Wheel(() => this.ms);

  /** Lets this much time pass, and everything due with it fire. */
  pass(ms: number): void {
    this.ms += ms;
    this.wheel.advance(this.ms);
  }
}

/** Keeps every line. */
export function keptLog(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const keep = (message: string): void => void lines.push(message);
  return { lines, debug: keep, info: keep, warn: keep, error: keep };
}

export interface Echo {
  readonly listener: Listener;
  readonly port: number;
  readonly clock: TestClock;
  readonly log: ReturnType<typeof keptLog>;
  /** What `serve` was told, in order. */
  readonly served: ConnectionInfo[];
  readonly refused: string[];
  /** Connections that were admitted and not yet released. */
  counted: number;
}

/** Answers each chunk with `echo:` before it; an end with an end. */
export async function echo(
  t: TestContext,
  spec: Partial<ListenerSpec> = {},
  env: Partial<ListenerEnv> = {},
): Promise<Echo> {
  const clock = new TestClock();
  const log = keptLog();
  const served: ConnectionInfo[] = [];
  const refused: string[] = [];
  const listener = new Listener(
    {
      name: "test",
      host: "127.0.0.1",
      port: 0,
      tls: null,
      proxyProtocol: false,
      plainText: "refuse",
      reusePort: false,
      ...spec,
    },
    {
      wheel: clock.wheel,
      now: () => clock.ms,
      log,
      admit: () => {
        result.counted++;
        return true;
      },
      release: () => void result.counted--,
      reclaim() {},
      turnedAway: () => {},
      refused: (reason) => void refused.push(reason),
      serve(transport, conn) {
        served.push(conn);
        transport.handler = {
          onData: (chunk) => void transport.write(`echo:${chunk.toString("latin1")}`),
          onEnd: () => transport.end(),
          onDrain() {},
          onClose() {},
        };
        transport.resume();
        return { drain: () => transport.end(), destroy: () => transport.destroy() };
      },
      ...env,
    },
  );
  await listener.listen();
  t.after(() => listener.destroy());
  const result: Echo = {
    listener,
    port: listener.address!.port,
    clock,
    log,
    served,
    refused,
    counted: 0,
  };
  return result;
}

/** All that the other side sends until it ends or cuts. */
export async function sendAndRead(port: number, bytes: string | Buffer): Promise<string> {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => {});
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.end(bytes as string, "latin1");
  await once(socket, "close");
  return text;
}

/** A finished handshake, or the error that ended it. */
export async function handshake(
  port: number,
  options: tls.ConnectionOptions = {},
): Promise<tls.TLSSocket> {
  const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  await once(socket, "secureConnect");
  return socket;
}

/** Sends over an open connection and waits for the echo. */
export async function exchange(socket: net.Socket, text: string): Promise<string> {
  socket.write(text);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  return chunk.toString("latin1");
}

/** How an open connection ends: with its error's code, or `closed`. */
export async function ending(socket: net.Socket): Promise<string> {
  if (socket.closed) return "closed";
  return new Promise((resolve) => {
    let code = "closed";
    socket.on("error", (error: NodeJS.ErrnoException) => (code = error.code ?? error.message));
    socket.on("end", () => socket.destroy());
    socket.on("close", () => resolve(code));
    socket.resume();
  });
}
