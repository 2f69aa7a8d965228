/** A connection that carries no HTTP, as its plugins see it and as the access log is told of it. */

import type { ConnectionInfo } from "../exchange.ts";
import { RequestHead } from "../http/head.ts";
import type {
  Client,
  Consumer,
  Ctx,
  Log,
  Mode,
  Peer,
  Slot,
  TcpConnection,
} from "../pipeline/plugin.ts";

export class TunnelRecord implements TcpConnection {
  conn: ConnectionInfo;
  readonly id: string;
  readonly startMs: number;
  readonly log: Log;
  serviceName: string | null = null;
  private helloName: string | null = null;
  private slots: Map<Slot<unknown>, unknown> | null = null;

  constructor(conn: ConnectionInfo, id: string, startMs: number, log: Log) {
    this.conn = conn;
    this.id = id;
    this.startMs = startMs;
    this.log = log;
  }

  get client(): Client {
    return this.conn.client;
  }

  get peer(): Peer | null {
    return this.conn.peer;
  }

  get listener(): string {
    return this.conn.listener;
  }

  get serverName(): string | null {
    return this.conn.client.tls?.serverName ?? this.helloName;
  }

  /** Of a ClientHello that is passed on unopened. */
  named(serverName: string | null): void {
    this.helloName = serverName;
  }

  get<T>(slot: Slot<T>): T | undefined {
    return this.slots?.get(slot) as T | undefined;
  }

  set<T>(slot: Slot<T>, value: T): void {
    this.slots ??= new Map();
    this.slots.set(slot, value);
  }
}

/** A {@link TunnelRecord} in the form of an exchange, for the access log. */
export class TunnelLine implements Ctx {
  readonly mode: Mode = "gateway";
  readonly req = new RequestHead();
  readonly routeName = "";
  readonly serviceName: string | null;
  readonly client: Client;
  readonly peer: Peer | null;
  consumer: Consumer | null = null;
  readonly startMs: number;
  readonly deadlineMs = 0;
  readonly signal: AbortSignal = AbortSignal.abort();
  readonly log: Log;
  id: string;
  private readonly record: TunnelRecord;

  constructor(record: TunnelRecord) {
    this.record = record;
    this.client = record.client;
    this.peer = record.peer;
    this.id = record.id;
    this.startMs = record.startMs;
    this.serviceName = record.serviceName;
    this.log = record.log;
    this.req.method = "TCP";
    this.req.host = record.serverName ?? "";
    this.req.path = "";
  }

  get<T>(slot: Slot<T>): T | undefined {
    return this.record.get(slot);
  }

  set(): void {}

  again(): Promise<null> {
    return Promise.resolve(null);
  }

  pickService(): void {}
}
