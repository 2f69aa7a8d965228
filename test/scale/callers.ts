/** Callers that stay: event streams and WebSockets over HTTP/2, WebSockets over HTTP/1.1, in the clear and over TLS. */

import { once } from "node:events";
import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";
import { within } from "../support/eventually.ts";

/** How long a step with thousands of streams may take before it counts as stuck, in milliseconds. */
const patienceMs = 180_000;
/** Streams that a caller opens on one connection: weft allows 128. */
export const streamsPerConnection = 100;

/** Where to call. */
export interface Place {
  readonly port: number;
  readonly secure: boolean;
}

/** One stream or WebSocket, and how far it has come. */
interface Lane {
  /** Last number that arrived. */
  seen: number;
  /** Which configuration the last piece was tagged with; null: the lane is not tagged. */
  generation: string | null;
  readonly isTagged: boolean;
  over: boolean;
  send: ((text: string) => void) | null;
  close(): void;
}

/** Everything that is open, and what has been lost of it. */
export class Callers {
  /** What ended, or broke, without having been asked to. */
  readonly lost: string[] = [];
  /** GOAWAY frames of weft. */
  goaways = 0;
  private readonly lanes: Lane[] = [];
  private readonly sessions: http2.ClientHttp2Session[] = [];
  private readonly sockets: net.Socket[] = [];
  private isOver = false;
  private awaited = 0;
  private missing = 0;
  private arrived: (() => void) | null = null;

  /** Lanes of all kinds that are open. */
  get open(): number {
    return this.lanes.filter((lane) => !lane.over).length;
  }

  /** Connections of HTTP/2. */
  get connections(): number {
    return this.sessions.length;
  }

  /** Opens event streams, many to a connection; they have begun when their first event is there. */
  async openStreams(place: Place, path: string, count: number): Promise<void> {
    for (let left = count; left > 0; left -= streamsPerConnection) {
      const session = await this.session(place);
      const firsts: Promise<void>[] = [];
      for (let i = Math.min(left, streamsPerConnection); i > 0; i--) {
        const stream = session.request({ ":path": path });
        firsts.push(this.follow(stream, path));
        stream.end();
      }
      await within(`the first events of ${path}`, Promise.all(firsts), patienceMs);
    }
  }

  /** Opens WebSockets by extended CONNECT, many to a connection. */
  async openSocketsOver2(place: Place, count: number): Promise<void> {
    for (let left = count; left > 0; left -= streamsPerConnection) {
      const session = await this.session(place);
      if (!session.remoteSettings.enableConnectProtocol)
        await within("SETTINGS", once(session, "remoteSettings"));
      const heads: Promise<unknown>[] = [];
      for (let i = Math.min(left, streamsPerConnection); i > 0; i--) {
        const stream = session.request({
          ":method": "CONNECT",
          ":protocol": "websocket",
          ":path": "/ws",
          "sec-websocket-version": "13",
        });
        heads.push(this.follow(stream, "a WebSocket over HTTP/2", (text) => stream.write(text)));
      }
      await within("the WebSockets over HTTP/2", Promise.all(heads), patienceMs);
    }
  }

  /** Opens WebSockets by Upgrade, one to a connection. */
  async openSocketsOver1(place: Place, count: number): Promise<void> {
    const width = 50;
    let left = count;
    const lane = async (): Promise<void> => {
      while (left-- > 0) await this.socketOver1(place);
    };
    await within("the WebSockets", Promise.all(Array.from({ length: width }, lane)), patienceMs);
  }

  private async session(place: Place): Promise<http2.ClientHttp2Session> {
    const url = `${place.secure ? "https" : "http"}://127.0.0.1:${place.port}`;
    const session = http2.connect(url, {
      rejectUnauthorized: false,
      settings: { initialWindowSize: 1024 * 1024 },
    });
    session.on("error", (error) => this.note(`a connection: ${error.message}`));
    session.on("goaway", () => this.goaways++);
    this.sessions.push(session);
    await within("a connection", once(session, "connect"), patienceMs);
    return session;
  }

  /** Resolves once the answer has begun: a stream of events with its first event, a WebSocket with its head. */
  private follow(
    stream: http2.ClientHttp2Stream,
    what: string,
    send: ((text: string) => void) | null = null,
  ): Promise<void> {
    const lane = this.add(what.includes("tagged"), send, () => stream.end());
    stream.setEncoding("latin1");
    return new Promise((resolve, reject) => {
      stream.on("response", (head) => {
        if (head[":status"] !== 200) reject(new Error(`${what}: ${head[":status"]}`));
        else if (send !== null) resolve();
      });
      let text = "";
      stream.on("data", (chunk: string) => {
        text = this.read(lane, text + chunk);
        resolve();
      });
      stream.on("error", (error) => this.end(lane, `${what}: ${error.message}`));
      stream.on("close", () => {
        this.end(lane, `${what}: closed with ${stream.rstCode}`);
        reject(new Error(`${what} ended before it began`));
      });
    });
  }

  private async socketOver1(place: Place): Promise<void> {
    const to = { host: "127.0.0.1", port: place.port, rejectUnauthorized: false };
    const socket = place.secure ? tls.connect(to) : net.connect({ ...to, noDelay: true });
    this.sockets.push(socket);
    socket.setEncoding("latin1");
    const lane = this.add(
      false,
      (text) => socket.write(text),
      () => socket.end(),
    );
    await new Promise<void>((resolve, reject) => {
      let text = "";
      let begun = false;
      socket.on("data", (chunk: string) => {
        text += chunk;
        if (!begun) {
          const end = text.indexOf("\r\n\r\n");
          if (end === -1) return;
          if (!text.startsWith("HTTP/1.1 101 ")) return reject(new Error(text));
          begun = true;
          text = text.slice(end + 4);
          resolve();
        }
        text = this.read(lane, text);
      });
      socket.on("error", (error) => this.end(lane, `a WebSocket: ${error.message}`));
      socket.on("close", () => {
        this.end(lane, "a WebSocket closed");
        reject(new Error("a WebSocket ended before it began"));
      });
      socket.write(
        "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      );
    });
  }

  private add(isTagged: boolean, send: Lane["send"], close: () => void): Lane {
    const lane: Lane = { seen: 0, generation: null, isTagged, over: false, send, close };
    this.lanes.push(lane);
    return lane;
  }

  /** Events and echoes are lines `data: N`, tagged ones with a number before. @returns what is left of the text */
  private read(lane: Lane, text: string): string {
    const end = text.lastIndexOf("\n");
    if (end === -1) return text;
    for (const match of text.slice(0, end).matchAll(/(?:(\w+):)?data: (\d+)$/gm)) {
      lane.seen = Number(match[2]);
      if (lane.isTagged) lane.generation = match[1] ?? null;
      if (lane.seen === this.awaited && --this.missing === 0) this.arrived?.();
    }
    return text.slice(end + 1);
  }

  private end(lane: Lane, why: string): void {
    if (lane.over) return;
    lane.over = true;
    this.note(why);
  }

  private note(why: string): void {
    if (!this.isOver) this.lost.push(why);
  }

  /** Sends the number through every WebSocket, lets `tick` send it through the event streams, and waits until it is everywhere. */
  async everywhere(number: number, tick: () => void): Promise<void> {
    this.awaited = number;
    this.missing = this.open;
    const all = new Promise<void>((resolve) => (this.arrived = resolve));
    tick();
    for (const lane of this.lanes) if (!lane.over) lane.send?.(`data: ${number}\n`);
    await within(`${number} on every lane`, all, patienceMs).catch((error: unknown) => {
      throw new Error(
        `${(error as Error).message}: ${this.missing} missing, ${this.lost.length} lost`,
      );
    });
  }

  /** Numbers of the configurations that tagged lanes live on. */
  generations(): string[] {
    const tagged = this.lanes.filter((lane) => lane.isTagged);
    return [...new Set(tagged.map((lane) => String(lane.generation)))];
  }

  /** Says goodbye on every lane; what ends from now on is not lost. */
  finish(): void {
    this.isOver = true;
    for (const lane of this.lanes) if (!lane.over) lane.close();
  }

  /** Lets go of everything at once. */
  destroy(): void {
    this.isOver = true;
    for (const one of [...this.sessions, ...this.sockets]) one.destroy();
  }
}
