/** Runs plugins in process on the production chain: no sockets, a clock of its own, every exchange brought to its end. */

import { SharedState } from "../../proxy/observe/shared.ts";
import { ProxyError } from "../../proxy/errors.ts";
import { Fields } from "../../proxy/http/fields.ts";
import { RequestHead, ResponseHead } from "../../proxy/http/head.ts";
import { answerToError, answerToReply } from "../../proxy/http/respond.ts";
import { openRequestBody, openResponseBody } from "../../proxy/pipeline/body.ts";
import { compileChain } from "../../proxy/pipeline/compile.ts";
import { ConsumerIndex } from "../../proxy/pipeline/consumers.ts";
import { InstanceStore } from "../../proxy/pipeline/instance-store.ts";
import { Reply } from "../../proxy/pipeline/plugin.ts";
import {
  PENDING,
  runDone,
  runEarly,
  runError,
  runRequest,
  runResponse,
} from "../../proxy/pipeline/run.ts";
import { loadBuiltIn } from "../../plugins/registry.ts";
import type { PipelineExchange } from "../../proxy/exchange.ts";
import type { BodyTransform } from "../../proxy/pipeline/body.ts";
import type { Chain } from "../../proxy/pipeline/chain.ts";
import type { ConsumerEntry } from "../../proxy/pipeline/consumers.ts";
import type { HostFacts, HostSource } from "../../proxy/pipeline/host.ts";
import type { Outcome, Resume } from "../../proxy/pipeline/run.ts";
import type {
  AnyPlugin,
  Client,
  Consumer,
  DoneInfo,
  Log,
  Mode,
  OtherAnswer,
  Peer,
  Refusal,
  Slot,
  TlsInfo,
} from "../../proxy/pipeline/plugin.ts";

/** One use of a plugin: a built-in's name, or a definition of one's own. */
export interface KitUse {
  readonly use: string | AnyPlugin;
  readonly options?: unknown;
  readonly id?: string;
  readonly when?: string;
  readonly onError?: "open" | "closed";
  readonly before?: readonly string[];
  readonly after?: readonly string[];
}

export interface KitOptions {
  readonly mode?: Mode;
  readonly route?: string;
  readonly consumers?: readonly ConsumerEntry[];
  readonly plans?: HostFacts["plans"];
  readonly redis?: string | readonly string[];
  readonly baseDir?: string;
  /** Another worker thread's kit, whose shared memory this one has too. */
  readonly sibling?: PluginKit;
  /** Answers requests that no plugin stopped. Default: 200 `ok`. */
  readonly upstream?: (seen: SeenRequest) => KitUpstream;
}

/** What the service got. */
export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface KitUpstream {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Several chunks are sent as a body of unknown length. */
  readonly body?: string | Uint8Array | readonly (string | Uint8Array)[];
}

export interface KitRequest {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Several chunks are sent as a body of unknown length. */
  readonly body?: string | readonly string[];
  readonly client?: string;
  readonly tls?: TlsInfo;
  /** Default: `https` with `tls`, else `http`. */
  readonly scheme?: "http" | "https";
  /** Host and port. Default `example.com`. */
  readonly host?: string;
  readonly peer?: Peer;
  readonly consumer?: Consumer;
}

export interface KitAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** The problem document, when it is one. */
  readonly problem: Readonly<Record<string, unknown>> | null;
  /** Null: no request went upstream. */
  readonly seen: SeenRequest | null;
  readonly ctx: PipelineExchange;
  /** True when no hook made it wait. */
  readonly wasSync: boolean;
}

/** Plugins as a route has them. Close it at the end of the test. */
export class PluginKit {
  /** Monotonic and wall clock; move it to let time pass. */
  nowMs = 1_000_000;
  wallMs = Date.UTC(2026, 0, 1);
  readonly counts = new Map<string, number>();
  readonly logs: { level: string; message: string; fields: unknown }[] = [];
  readonly printed: string[] = [];
  readonly storesUp = new Map<string, boolean>();
  readonly refusals: ({ route: string } & Refusal)[] = [];
  readonly store: InstanceStore;
  chain: Chain | null = null;
  private readonly options: KitOptions;
  private readonly shared: SharedState;

  constructor(options: KitOptions) {
    this.options = options;
    this.shared =
      options.sibling?.shared ?? SharedState.create({ endpoints: 8, limits: 1024, threads: 1 });
    this.store = new InstanceStore(this.source());
  }

  facts(): HostFacts {
    const { consumers, plans, redis, baseDir } = this.options;
    return {
      consumers: new ConsumerIndex(consumers ?? []),
      plans: plans ?? {},
      stores: { redis: redis ?? null },
      baseDir: baseDir ?? process.cwd(),
    };
  }

  async setUp(uses: readonly KitUse[]): Promise<void> {
    const instances = [];
    const mode = this.options.mode ?? "gateway";
    for (const use of uses) {
      const definition = typeof use.use === "string" ? await loadBuiltIn(use.use) : use.use;
      if (definition === null) throw new Error(`no built-in plugin ${String(use.use)}`);
      instances.push(
        await this.store.acquire(
          {
            definition,
            id: use.id ?? definition.name,
            options: use.options,
            mode,
            route: this.options.route ?? "route",
            stage: null,
            when: use.when ?? null,
            onError: use.onError ?? null,
            before: use.before ?? [],
            after: use.after ?? [],
          },
          this.facts(),
        ),
      );
    }
    this.chain = compileChain(instances, mode);
  }

  /** One exchange, to its end. */
  async request(request: KitRequest = {}): Promise<KitAnswer> {
    const x = this.exchange(request);
    let seen: SeenRequest | null = null;
    let wasSync = true;
    let sentBytes = 0;
    const later = (start: (resume: Resume) => Outcome): Promise<Reply | null> => {
      return new Promise((resolve) => {
        const outcome = start((_x, result) => resolve(result));
        if (outcome === PENDING) wasSync = false;
        else resolve(outcome);
      });
    };
    const finish = (answer: { head: ResponseHead; body: Buffer }): KitAnswer => {
      runDone(this.chain, x, {
        ...done,
        status: answer.head.status,
        requestBytes: sentBytes,
        responseBytes: answer.body.length,
      });
      return toAnswer(x, answer, { seen, wasSync });
    };
    /** An answer of weft's own, and those that response hooks put in its place. */
    const respond = async (
      head: ResponseHead,
      chunks: readonly Uint8Array[],
    ): Promise<KitAnswer> => {
      const replaced = await later((resume) => runResponse(this.chain, x, head, resume));
      if (replaced !== null) return answerWith(replaced);
      const result = await pass(openResponseBody(this.chain, x, head), chunks);
      if (result instanceof Reply) return answerWith(result);
      if (result instanceof ProxyError) return failWith(result);
      return finish({ head, body: result });
    };
    const answerWith = (reply: Reply): Promise<KitAnswer> => {
      const own = answerToReply(reply, x.req, x.id);
      return respond(own.head, [own.body]);
    };
    const failWith = (error: ProxyError): Promise<KitAnswer> => {
      const mapped = runError(this.chain, x, error);
      if (mapped !== null) return answerWith(mapped);
      const own = answerToError(error, x.req, x.id);
      return respond(own.head, [own.body]);
    };

    const early = runEarly(this.chain, x, Object.assign(x.req, { rewrite() {} }));
    if (early !== null) return answerWith(early);
    const stopped = await later((resume) => runRequest(this.chain, x, resume));
    if (stopped !== null) return answerWith(stopped);
    const sent = await pass(openRequestBody(this.chain, x), toChunks(request.body ?? ""));
    if (sent instanceof Reply) return answerWith(sent);
    if (sent instanceof ProxyError) return failWith(sent);
    sentBytes = sent.length;
    const { method, target, headers } = x.req;
    seen = { method, target, headers: Object.fromEntries(headers), body: sent.toString() };
    const upstream = this.options.upstream?.(seen) ?? { body: "ok" };
    const head = new ResponseHead();
    head.status = upstream.status ?? 200;
    for (const [name, value] of Object.entries(upstream.headers ?? {}))
      head.headers.set(name, value);
    const chunks = toChunks(upstream.body ?? "");
    frame(head, upstream.body ?? "", chunks);
    return respond(head, chunks);
  }

  count(name: string, ...labels: string[]): number {
    return this.counts.get([name, ...labels].join("|")) ?? 0;
  }

  exchange(request: KitRequest = {}): PipelineExchange {
    return new KitExchange(request, this.options, this.nowMs);
  }

  close(): Promise<void> {
    return this.store.close();
  }

  private source(): HostSource {
    const add = (key: string, by: number): void => {
      this.counts.set(key, (this.counts.get(key) ?? 0) + by);
    };
    const note = (level: string) => (message: string, fields?: unknown) => {
      this.logs.push({ level, message, fields });
    };
    return {
      log: { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") },
      now: () => this.nowMs,
      wallNow: () => this.wallMs,
      random: () => 0.5,
      print: (line) => this.printed.push(line),
      counter: (name) => ({ inc: (labels = [], by = 1) => add([name, ...labels].join("|"), by) }),
      limiter: (spec) => this.shared.limiter(spec, () => this.nowMs),
      gate: (spec) => this.shared.gate(spec),
      generations: () => this.shared.generations,
      refused: (route, refusal) => this.refusals.push({ route, ...refusal }),
      storeUp: (store, up) => this.storesUp.set(store, up),
      pluginError: (plugin) => add(`plugin_errors|${plugin}`, 1),
      pluginSeconds: () => {},
    };
  }
}

/** A kit with these plugins. */
export async function createKit(
  uses: readonly KitUse[],
  options: KitOptions = {},
): Promise<PluginKit> {
  const kit = new PluginKit(options);
  await kit.setUp(uses);
  return kit;
}

const done: DoneInfo = {
  status: 0,
  code: null,
  durationMs: 1,
  requestBytes: 0,
  responseBytes: 0,
  attempts: 1,
  endpoint: "127.0.0.1:1",
  end: "complete",
};

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

class KitExchange implements PipelineExchange {
  readonly req = new RequestHead();
  res: ResponseHead | null = null;
  reached = -1;
  outward = 0x7fffffff;
  bodyBelow = 0x7fffffff;
  whenCache: Uint8Array | null = null;
  readonly mode: Mode;
  id = "id-1";
  readonly routeName: string;
  serviceName: string | null = "service";
  readonly client: Client;
  readonly peer: Peer | null;
  consumer: Consumer | null;
  readonly startMs: number;
  readonly deadlineMs = 0;
  readonly signal = new AbortController().signal;
  readonly log = silent;
  private readonly slots = new Map<Slot<unknown>, unknown>();
  private readonly options: KitOptions;

  constructor(request: KitRequest, options: KitOptions, nowMs: number) {
    this.options = options;
    const { req } = this;
    req.method = request.method ?? "GET";
    req.target = request.path ?? "/";
    const query = req.target.indexOf("?");
    req.path = query === -1 ? req.target : req.target.slice(0, query);
    req.query = query === -1 ? "" : req.target.slice(query);
    req.authority = request.host ?? "example.com";
    req.host = req.authority.replace(/:\d+$/, "");
    req.scheme = request.scheme ?? (request.tls === undefined ? "http" : "https");
    for (const [name, value] of Object.entries(request.headers ?? {})) req.headers.set(name, value);
    frame(req, request.body ?? "", toChunks(request.body ?? ""));
    this.mode = options.mode ?? "gateway";
    this.routeName = options.route ?? "route";
    const address = request.client ?? "192.0.2.1";
    this.client = { address, port: 4000, socketAddress: address, tls: request.tls ?? null };
    this.peer = request.peer ?? null;
    this.consumer = request.consumer ?? null;
    this.startMs = nowMs;
  }

  get<T>(slot: Slot<T>): T | undefined {
    return this.slots.get(slot) as T | undefined;
  }
  set<T>(slot: Slot<T>, value: T): void {
    this.slots.set(slot, value);
  }
  async again(change: (headers: Fields) => void): Promise<OtherAnswer> {
    const { method, target, headers } = this.req;
    const sent = new Fields();
    for (const [name, value] of headers) sent.set(name, value);
    change(sent);
    const seen = { method, target, headers: Object.fromEntries(sent), body: "" };
    const upstream = this.options.upstream?.(seen) ?? { body: "ok" };
    const answered = new Fields();
    for (const [name, value] of Object.entries(upstream.headers ?? {})) answered.set(name, value);
    const body = Buffer.concat(toChunks(upstream.body ?? ""));
    return { status: upstream.status ?? 200, source: "upstream", headers: answered, body };
  }
  pickService(name: string): void {
    this.serviceName = name;
  }
}

type Body = string | Uint8Array | readonly (string | Uint8Array)[];

function toChunks(body: Body): Buffer[] {
  if (typeof body === "string") return body === "" ? [] : [Buffer.from(body)];
  if (body instanceof Uint8Array) return [Buffer.from(body)];
  return body.map((chunk) => Buffer.from(chunk as string));
}

function frame(head: RequestHead | ResponseHead, body: Body, chunks: readonly Uint8Array[]): void {
  if (Array.isArray(body)) {
    head.framing = "chunked";
    head.contentLength = -1;
  } else if (chunks.length === 0 && head instanceof RequestHead) head.framing = "none";
  else {
    head.framing = "length";
    head.contentLength = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }
}

/** The whole body after its hooks; feeding stops while the transform asks for it, and each chunk is overwritten after its call. */
async function pass(
  transform: BodyTransform | null,
  chunks: readonly Uint8Array[],
): Promise<Buffer | Reply | ProxyError> {
  if (transform === null) return Buffer.concat(chunks);
  const out: Buffer[] = [];
  return new Promise((resolve) => {
    let wake: (() => void) | null = null;
    transform.sink = {
      onData: (bytes) => out.push(Buffer.from(bytes)),
      onEnd: () => resolve(Buffer.concat(out)),
      onReady: () => wake?.(),
      onReply: resolve,
      onError: resolve,
    };
    void (async () => {
      for (const chunk of chunks) {
        const lent = Buffer.from(chunk);
        const ready = new Promise<void>((goOn) => (wake = goOn));
        const isReady = transform.write(lent);
        lent.fill(0);
        if (!isReady) await ready;
      }
      transform.end();
    })();
  });
}

function toAnswer(
  x: PipelineExchange,
  { head, body }: { head: ResponseHead; body: Buffer },
  rest: Pick<KitAnswer, "seen" | "wasSync">,
): KitAnswer {
  const headers = Object.fromEntries(
    [...new Set([...head.headers].map(([name]) => name))].map((name) => [
      name,
      head.headers.get(name)!,
    ]),
  );
  const isProblem = headers["content-type"] === "application/problem+json";
  const problem = isProblem ? (JSON.parse(body.toString()) as Record<string, unknown>) : null;
  return { status: head.status, headers, body, problem, ctx: x, ...rest };
}
