/** What the access log is told of a TCP connection, in the form of an exchange. */

import type { ConnectionInfo } from "../exchange.ts";
import { RequestHead } from "../http/head.ts";
import type { Client, Consumer, Ctx, Log, Mode, Peer, Slot } from "../pipeline/plugin.ts";

export class TunnelRecord implements Ctx {
  readonly mode: Mode = "gateway";
  readonly req = new RequestHead();
  readonly routeName = "";
  readonly serviceName: string | null;
  readonly client: Client;
  readonly peer: Peer | null;
  consumer: Consumer | null = null;
  readonly startMs = 0;
  readonly deadlineMs = 0;
  readonly signal: AbortSignal = AbortSignal.abort();
  readonly log: Log;
  id: string;

  constructor(conn: ConnectionInfo, id: string, serviceName: string | null, log: Log) {
    this.client = conn.client;
    this.peer = conn.peer;
    this.id = id;
    this.serviceName = serviceName;
    this.log = log;
    this.req.method = "TCP";
    this.req.path = "";
  }

  get<T>(_slot: Slot<T>): T | undefined {
    return undefined;
  }

  set(): void {}

  again(): Promise<null> {
    return Promise.resolve(null);
  }

  pickService(): void {}
}
