/** Callers who do nothing wrong, in every protocol: each must get what it asked for, whatever goes on around it. */

import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import type { Readable } from "node:stream";
import type { Target } from "../leaks/aborts.ts";

/** What became of them. */
export interface Toll {
  readonly asked: number;
  /** In words. */
  readonly failed: readonly string[];
}

/** One question; null: answered as it should be, else what went wrong. */
type Ask = () => Promise<string | null>;

const upgrade = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": `${"A".repeat(22)}==`,
};
const host = "a.test";

/** Ask until stopped, on kept connections; streams and tunnels stand open meanwhile. */
export class WellBehaved {
  private readonly target: Target;
  private readonly agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  private readonly secureAgent = new https.Agent({ keepAlive: true, maxSockets: 4 });
  private readonly session: http2.ClientHttp2Session;
  private readonly failed: string[] = [];
  private readonly standing: (() => void)[] = [];
  private readonly lanes: Promise<unknown>;
  private asked = 0;
  private isOver = false;

  constructor(target: Target) {
    this.target = target;
    this.session = http2.connect(`http://127.0.0.1:${target.port}`);
    this.session.on("error", (error) => this.fail("HTTP/2", String(error)));
    for (const [name, open] of Object.entries({
      "a stream of HTTP/1.1": () => this.getStream(target.port),
      "a stream through TCP": () => this.getStream(target.rawPort),
      "a stream of HTTP/2": () => this.http2Stream({ ":path": "/drip" }),
      "a gRPC stream": () =>
        this.http2Stream({
          ":path": "/calm/drip",
          ":method": "POST",
          "content-type": "application/grpc",
          te: "trailers",
        }),
    }))
      this.stand(name, open());
    const asks: Record<string, Ask> = {
      "a GET": () => this.ask(http, this.agent, { path: "/ok" }),
      "an answer in chunks": () => this.ask(http, this.agent, { path: "/chunked" }),
      "an upload": () => this.ask(http, this.agent, { path: "/chunked", method: "POST" }),
      "a GET over TLS": () =>
        this.ask(https, this.secureAgent, { path: "/ok", port: target.tlsPort }),
      "a GET to TLS": () => this.ask(http, this.agent, { path: "/secure/ok" }),
      "a GET over HTTP/2": () => this.overHttp2(),
      "a WebSocket": () => this.webSocket(),
      "a GET through TCP": () => this.ask(http, this.agent, { path: "/ok", port: target.rawPort }),
    };
    this.lanes = Promise.all(Object.entries(asks).map(([name, ask]) => this.lane(name, ask)));
  }

  async stop(): Promise<Toll> {
    this.isOver = true;
    await this.lanes;
    for (const end of this.standing) end();
    this.agent.destroy();
    this.secureAgent.destroy();
    this.session.destroy();
    return { asked: this.asked, failed: this.failed };
  }

  private fail(name: string, what: string): void {
    if (!this.isOver) this.failed.push(`${name}: ${what}`);
  }

  private async lane(name: string, ask: Ask): Promise<void> {
    while (!this.isOver) {
      this.asked++;
      const verdict = await ask();
      // also when it was told to stop meanwhile: what was asked is to be answered
      if (verdict !== null) this.failed.push(`${name}: ${verdict}`);
    }
  }

  /** It drips, and goes on dripping until told to end. */
  private stand(
    name: string,
    { stream, end }: { stream: Promise<Readable>; end: () => void },
  ): void {
    this.asked++;
    let drops = 0;
    stream.then(
      (opened) => {
        opened.on("data", () => drops++);
        opened.on("error", (error) => this.fail(name, String(error)));
        opened.on("close", () => this.fail(name, `cut after ${drops} drops`));
      },
      (error: unknown) => this.fail(name, String(error)),
    );
    this.standing.push(() => {
      if (drops === 0) this.failed.push(`${name}: nothing came`);
      end();
    });
  }

  private getStream(port: number): { stream: Promise<Readable>; end: () => void } {
    const request = http.get({
      port,
      host: "127.0.0.1",
      agent: false,
      path: "/drip",
      headers: { host },
    });
    const stream = once(request, "response").then(([answer]) => answer as http.IncomingMessage);
    return { stream, end: () => request.destroy() };
  }

  private http2Stream(fields: http2.OutgoingHttpHeaders): {
    stream: Promise<Readable>;
    end: () => void;
  } {
    const stream = this.session.request({ ":authority": host, ...fields });
    return { stream: Promise.resolve(stream), end: () => stream.destroy() };
  }

  private ask(
    by: typeof http | typeof https,
    agent: http.Agent,
    options: http.RequestOptions,
  ): Promise<string | null> {
    return new Promise((resolve) => {
      const request = by.request(
        {
          port: this.target.port,
          host: "127.0.0.1",
          agent,
          headers: { host },
          ...options,
          ...(by === https ? { rejectUnauthorized: false, servername: host } : {}),
        },
        (response) => {
          let body = "";
          response.on("data", (chunk: Buffer) => (body += chunk.toString()));
          response.on("error", (error) => resolve(String(error)));
          response.on("end", () =>
            resolve(
              response.statusCode === 200 && body === "ok"
                ? null
                : `${response.statusCode} ${body}`,
            ),
          );
        },
      );
      request.on("error", (error) => resolve(String(error)));
      if (options.method === "POST") request.write("a body in chunks");
      request.end();
    });
  }

  private overHttp2(): Promise<string | null> {
    return new Promise((resolve) => {
      const stream = this.session.request({ ":path": "/ok", ":authority": host });
      let status = 0;
      let body = "";
      stream.on("response", (fields) => (status = fields[":status"] ?? 0));
      stream.on("data", (chunk: Buffer) => (body += chunk.toString()));
      stream.on("error", (error) => resolve(String(error)));
      stream.on("close", () =>
        resolve(status === 200 && body === "ok" ? null : `${status} ${body}`),
      );
    });
  }

  /** A switch, what rides with it, and a goodbye. */
  private webSocket(): Promise<string | null> {
    return new Promise((resolve) => {
      const options = { port: this.target.port, host: "127.0.0.1", agent: false, path: "/switch" };
      const request = http.get({ ...options, headers: { host, ...upgrade } });
      request.on("error", (error) => resolve(String(error)));
      request.on("response", (answer) => resolve(`no switch: ${answer.statusCode}`));
      request.on("upgrade", (_answer, socket: net.Socket, first: Buffer) => {
        let text = first.toString();
        const look = (): void => {
          if (text === "hello") socket.end();
        };
        socket.on("data", (chunk: Buffer) => {
          text += chunk.toString();
          look();
        });
        socket.on("error", (error) => resolve(String(error)));
        socket.on("close", () => resolve(text === "hello" ? null : `got ${JSON.stringify(text)}`));
        look();
      });
    });
  }
}
