/** Asks an HTTP service whether a request may pass: one GET on a kept connection, within a time. */

import { Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { ClientRequest, IncomingMessage } from "node:http";

/** What the service answered, whatever its status. */
export interface AuthzAnswer {
  readonly status: number;
  /** As received, in order. */
  readonly fields: readonly (readonly [string, string])[];
  readonly body: Buffer;
}

/** Larger bodies are no answer. */
const maxBodyBytes = 64 * 1024;
/** Connections to the service, per plugin and worker. */
const maxConnections = 256;

/** The service behind one URL, and its connections. */
export class AuthzService {
  private readonly url: URL;
  private readonly timeoutMs: number;
  private readonly agent: HttpAgent | HttpsAgent;

  constructor(url: URL, timeoutMs: number) {
    this.url = url;
    this.timeoutMs = timeoutMs;
    const options = { keepAlive: true, maxSockets: maxConnections, scheduling: "lifo" } as const;
    this.agent = url.protocol === "https:" ? new HttpsAgent(options) : new HttpAgent(options);
  }

  /** Rejects when there is no whole answer in time. Redirects are answers. */
  async ask(fields: readonly (readonly [string, string])[]): Promise<AuthzAnswer> {
    const signal = AbortSignal.timeout(this.timeoutMs);
    try {
      return await this.askOnce(fields, signal);
    } catch (error) {
      // the service closed a kept connection just then: nothing was done, so it is asked again
      if (error instanceof StaleConnection && !signal.aborted)
        return await this.askOnce(fields, signal);
      throw error;
    }
  }

  private askOnce(
    fields: readonly (readonly [string, string])[],
    signal: AbortSignal,
  ): Promise<AuthzAnswer> {
    return new Promise((resolve, reject) => {
      const fail = (reason: string): void => reject(new Error(`${this.url.host}: ${reason}`));
      const send = this.url.protocol === "https:" ? httpsRequest : httpRequest;
      const call: ClientRequest = send(
        this.url,
        { agent: this.agent, signal, headers: ["host", this.url.host, ...fields.flat()] },
        (answer) => {
          readBody(answer).then(
            (body) => resolve({ status: answer.statusCode ?? 0, fields: pairs(answer), body }),
            (error: Error) => fail(signal.aborted ? "no answer in time" : error.message),
          );
        },
      );
      call.on("error", (error) => {
        if (signal.aborted) fail(`no answer within ${this.timeoutMs} ms`);
        else if (call.reusedSocket) reject(new StaleConnection(error.message));
        else fail(error.message);
      });
      call.end();
    });
  }

  close(): void {
    this.agent.destroy();
  }
}

class StaleConnection extends Error {}

async function readBody(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBodyBytes) throw new Error(`more than ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function pairs({ rawHeaders }: IncomingMessage): [string, string][] {
  const fields: [string, string][] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2)
    fields.push([rawHeaders[i]!.toLowerCase(), rawHeaders[i + 1]!]);
  return fields;
}
