/** Runs the body hooks of a chain: what goes in are the bytes as received, what comes out is what goes on. */

import { BufferStage, Outlet, StreamStage, tooLarge } from "./body-stage.ts";
import { askWhen, failed, skip } from "./guard.ts";
import { ProxyError } from "../errors.ts";
import type { BodyEnds, Stage } from "./body-stage.ts";
import type { BodyStep, Chain } from "./chain.ts";
import type { BodyMode, BufferHook, Ctx, Reply, StreamHook } from "./plugin.ts";
import type { PipelineExchange } from "../exchange.ts";
import type { RequestHead, ResponseHead } from "../http/head.ts";

/** Takes what a {@link BodyTransform} puts out. Calls come during `write` and `end`, or later when a hook is asynchronous. */
export interface BodySink {
  /** Valid only during the call. */
  onData(bytes: Uint8Array): void;
  /** Once, after the last byte. */
  onEnd(): void;
  /** After `write` returned false: feed again. */
  onReady(): void;
  /** A plugin ends the exchange with this answer; nothing more comes. */
  onReply(reply: Reply): void;
  /** The body cannot go on: body-too-large (413), upstream-invalid (502) or plugin-error (500); nothing more comes. */
  onError(error: ProxyError): void;
}

/** One body on its way through the plugins that want it. Set `sink` before the first `write`. */
export class BodyTransform implements BodyEnds {
  sink: BodySink | null = null;
  /** True: hold the head until the first call of the sink, since nothing comes out before everything went in. */
  readonly holdsHead: boolean;
  /** Bytes that will come out; read it at the first `onData` or `onEnd`. -1: not known, use chunked framing. */
  outputLength = -1;
  /** Set at once when the announced length is over a plugin's limit; otherwise `write` and `end` report it. */
  readonly refusal: ProxyError | null;
  private readonly refusedAt: number;
  /** @internal stages that wait for a promise */
  waiting = 0;
  /** @internal */
  readonly hook: "requestBody" | "responseBody";
  private readonly x: PipelineExchange;
  private readonly first: Stage;
  private readonly announcedLength: number;
  private readonly lastBuffers: boolean;
  private isOver = false;
  private isHeldBack = false;

  /** Use {@link openRequestBody} and {@link openResponseBody}. */
  constructor(
    x: PipelineExchange,
    head: BodyHead,
    steps: readonly AnyStep[],
    refused: Refused | null,
  ) {
    this.x = x;
    this.refusal = refused?.error ?? null;
    this.refusedAt = refused?.position ?? 0;
    let next: Stage = new Outlet(this);
    let holds = false;
    for (let i = steps.length - 1; i >= 0; i--) {
      const step = steps[i]!;
      if (step.bufferBytes === -1) next = new StreamStage(this, step as BodyStep<StreamHook>, next);
      else {
        holds = true;
        next = new BufferStage(this, step as BodyStep<BufferHook>, next);
      }
    }
    this.first = next;
    this.holdsHead = holds;
    this.hook = head.hook;
    this.announcedLength = steps.length === 1 ? head.contentLength : -1;
    if (
      steps.every(({ plugin, bufferBytes }) => {
        const { body } = plugin.definition;
        const mode = head.hook === "requestBody" ? body?.request : body?.response;
        return bufferBytes === -1 && mode?.keeps === true;
      })
    )
      this.outputLength = head.contentLength;
    this.lastBuffers = steps.at(-1)?.bufferBytes !== -1;
  }

  /** The chunk is copied where it is kept. False: stop feeding until `onReady`. */
  write(chunk: Uint8Array): boolean {
    if (this.isOver) return true;
    if (this.refusal !== null) this.fail(this.refusal, this.refusedAt);
    else this.first.push(chunk);
    this.isHeldBack = this.waiting > 0 && !this.isOver;
    return !this.isHeldBack;
  }

  end(): void {
    if (this.isOver) return;
    if (this.refusal !== null) this.fail(this.refusal, this.refusedAt);
    else this.first.finish();
  }

  /** The exchange is over: no further call of the sink. */
  destroy(): void {
    this.isOver = true;
  }

  /** @internal */
  get ctx(): PipelineExchange {
    return this.x;
  }

  /** @internal */
  get over(): boolean {
    return this.isOver;
  }

  /** @internal the last buffering stage has everything: `length` bytes, or -1 when it lets the body pass by */
  settleLength(stage: Stage, length: number): void {
    if (stage.next instanceof Outlet && this.lastBuffers) {
      this.outputLength = length === -1 ? this.announcedLength : length;
    }
  }

  /** @internal */
  out(bytes: Uint8Array): void {
    if (!this.isOver) this.sink!.onData(bytes);
  }

  /** @internal */
  outEnd(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.sink!.onEnd();
  }

  /** @internal a stage's promise has settled and its queue is empty */
  ready(): void {
    if (this.isOver || !this.isHeldBack || this.waiting > 0) return;
    this.isHeldBack = false;
    this.sink!.onReady();
  }

  /** @internal */
  reply(reply: Reply, position: number): void {
    if (this.isOver) return;
    this.isOver = true;
    this.reopenOutside(position);
    this.sink!.onReply(reply);
  }

  /** @internal */
  fail(error: ProxyError, position: number): void {
    if (this.isOver) return;
    this.isOver = true;
    this.reopenOutside(position);
    this.sink!.onError(error);
  }

  /** The head that passed the response hooks will not be sent: only plugins outside of this one see what takes its place. */
  private reopenOutside(position: number): void {
    if (this.hook !== "responseBody") return;
    this.x.outward = position;
    this.x.bodyBelow = position;
  }
}

interface BodyHead {
  readonly hook: "requestBody" | "responseBody";
  readonly contentLength: number;
}
interface Refused {
  readonly error: ProxyError;
  readonly position: number;
}
type AnyStep = BodyStep<StreamHook | BufferHook>;

/** Null: no plugin wants this body, or there is none. Call it after `runRequest`. */
export function openRequestBody(chain: Chain | null, x: PipelineExchange): BodyTransform | null {
  if (
    chain === null ||
    chain.requestBody === null ||
    x.req.framing === "none" ||
    x.req.upgrade !== null
  )
    return null;
  return open(x, chain.requestBody, x.req, {
    hook: "requestBody",
    contentLength: x.req.contentLength,
  });
}

/** Null: no plugin wants this body, or there is none. Call it after the last `runResponse`, before the head is sent. */
export function openResponseBody(
  chain: Chain | null,
  x: PipelineExchange,
  res: ResponseHead,
): BodyTransform | null {
  if (chain === null || chain.responseBody === null || hasNoBody(x, res)) return null;
  return open(x, chain.responseBody, res, {
    hook: "responseBody",
    contentLength: res.contentLength,
  });
}

function open<Head extends RequestHead | ResponseHead>(
  x: PipelineExchange,
  all: readonly AnyStep[],
  message: Head,
  head: BodyHead,
): BodyTransform | null {
  let steps: AnyStep[] | null = null;
  let refused: Refused | null = null;
  for (const step of all) {
    const { plugin, position } = step;
    if (position > x.reached) continue;
    if (head.hook === "responseBody" && position >= x.bodyBelow) continue;
    if (plugin.when !== null && askWhen(plugin, position, x) === skip) continue;
    const { body } = plugin.definition;
    const mode = (head.hook === "requestBody" ? body?.request : body?.response) as
      | BodyMode<Head>
      | undefined;
    try {
      if (mode?.when !== undefined && !mode.when(message, x as Ctx)) continue;
    } catch (error) {
      if (failed(plugin, head.hook, error) === null) continue;
      const message = `plugin ${plugin.id} failed in its ${head.hook} hook`;
      refused ??= { error: new ProxyError("plugin-error", message), position };
    }
    const isTooLong = step.bufferBytes !== -1 && head.contentLength > step.bufferBytes;
    if (isTooLong && mode?.overflow === "bypass") continue;
    if (isTooLong)
      refused ??= { error: tooLarge(head.hook, plugin.id, step.bufferBytes), position };
    steps ??= [];
    steps.push(step);
  }
  return steps === null ? null : new BodyTransform(x, head, steps, refused);
}

/** RFC 9110 section 6.4.1: what a head to HEAD says about a body is about another one. */
function hasNoBody(x: PipelineExchange, res: ResponseHead): boolean {
  return (
    res.framing === "none" || x.req.method === "HEAD" || res.status === 204 || res.status === 304
  );
}
