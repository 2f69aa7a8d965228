/** The parts of a body transform: one stage per plugin, each handing its output to the next. */

import { failed, waitFor } from "./guard.ts";
import { Reply } from "./plugin.ts";
import { ProxyError } from "../errors.ts";
import type { BodyStep } from "./chain.ts";
import type { BufferHook, BufferedBody, StreamHook } from "./plugin.ts";
import type { PipelineExchange } from "../exchange.ts";

const EMPTY = new Uint8Array(0);
/** What an answer with changed bytes must not claim any more. */
const digests = ["etag", "content-md5", "digest", "content-digest", "repr-digest"];

/** The transform as its stages see it. */
export interface BodyEnds {
  readonly ctx: PipelineExchange;
  readonly hook: "requestBody" | "responseBody";
  readonly over: boolean;
  waiting: number;
  out(bytes: Uint8Array): void;
  outEnd(): void;
  ready(): void;
  reply(reply: Reply, position: number): void;
  fail(error: ProxyError, position: number): void;
  settleLength(stage: Stage, length: number): void;
}

export interface Stage {
  readonly next: Stage | null;
  /** The bytes are valid only during the call. */
  push(bytes: Uint8Array): void;
  finish(): void;
}

/** The last stage: hands the bytes to the sink. */
export class Outlet implements Stage {
  readonly next = null;
  private readonly ends: BodyEnds;
  constructor(ends: BodyEnds) {
    this.ends = ends;
  }
  push(bytes: Uint8Array): void {
    this.ends.out(bytes);
  }
  finish(): void {
    this.ends.outEnd();
  }
}

/** Hands each chunk to the hook, one at a time and in order, whether the hook is asynchronous or not. */
export class StreamStage implements Stage {
  readonly next: Stage;
  private readonly ends: BodyEnds;
  private readonly step: BodyStep<StreamHook>;
  private readonly keepsChunks: boolean;
  private queue: Uint8Array[] = [];
  private isBusy = false;
  private isFinishing = false;

  constructor(ends: BodyEnds, step: BodyStep<StreamHook>, next: Stage) {
    this.ends = ends;
    this.step = step;
    this.next = next;
    // an async function may read its chunk after an await, when the socket's buffer holds other bytes
    this.keepsChunks = step.run.constructor.name === "AsyncFunction";
  }

  push(bytes: Uint8Array): void {
    if (this.isBusy) this.queue.push(copy(bytes));
    else this.call(bytes, false);
  }

  finish(): void {
    if (this.isBusy) this.isFinishing = true;
    else this.call(EMPTY, true);
  }

  private call(bytes: Uint8Array, last: boolean): void {
    const { plugin } = this.step;
    if (this.ends.over) return;
    if (plugin.trip.tripped && plugin.trip.isOpen()) return this.refuse(bytes, last);
    const chunk = this.keepsChunks ? copy(bytes) : bytes;
    try {
      const result = this.step.run(chunk, this.ends.ctx, last);
      if (result instanceof Promise) return this.wait(result, copy(chunk), last);
      if (plugin.trip.tripped) plugin.trip.succeeded();
      this.pass(result, chunk, last);
    } catch (error) {
      this.recover(failed(plugin, this.ends.hook, error), chunk, last);
    }
  }

  private wait(promise: Promise<unknown>, chunk: Uint8Array, last: boolean): void {
    this.isBusy = true;
    this.ends.waiting++;
    waitFor({ plugin: this.step.plugin, hook: this.ends.hook }, promise, {
      done: (value) => {
        this.pass(value, chunk, last);
        this.goOn();
      },
      failed: (answer) => {
        this.recover(answer, chunk, last);
        this.goOn();
      },
    });
  }

  private goOn(): void {
    this.isBusy = false;
    this.ends.waiting--;
    while (!this.isBusy && this.queue.length > 0) this.call(this.queue.shift()!, false);
    if (this.isBusy) return;
    if (this.isFinishing) {
      this.isFinishing = false;
      this.call(EMPTY, true);
    }
    this.ends.ready();
  }

  private pass(result: unknown, chunk: Uint8Array, last: boolean): void {
    if (this.ends.over) return;
    if (result instanceof Reply) return this.ends.reply(result, this.step.position);
    const bytes = result instanceof Uint8Array ? result : chunk;
    if (bytes.length > 0) this.next.push(bytes);
    if (last) this.next.finish();
  }

  private refuse(chunk: Uint8Array, last: boolean): void {
    const { plugin, position } = this.step;
    if (plugin.onError === "open") return this.pass(undefined, chunk, last);
    this.ends.fail(
      new ProxyError("plugin-error", `plugin ${plugin.id} is off: it failed repeatedly`),
      position,
    );
  }

  private recover(answer: Reply | null, chunk: Uint8Array, last: boolean): void {
    if (answer === null) this.pass(undefined, chunk, last);
    else this.ends.fail(new ProxyError("plugin-error", answer.detail), this.step.position);
  }
}

/** Holds the whole body for one call of the hook; over its size it refuses or lets the body pass by. */
export class BufferStage implements Stage {
  readonly next: Stage;
  private readonly ends: BodyEnds;
  private readonly step: BodyStep<BufferHook>;
  private chunks: Uint8Array[] = [];
  private total = 0;
  private isBypassed = false;

  constructor(ends: BodyEnds, step: BodyStep<BufferHook>, next: Stage) {
    this.ends = ends;
    this.step = step;
    this.next = next;
  }

  push(bytes: Uint8Array): void {
    if (this.isBypassed) return this.next.push(bytes);
    this.total += bytes.length;
    if (this.total <= this.step.bufferBytes) {
      this.chunks.push(copy(bytes));
      return;
    }
    const { plugin, position, bufferBytes } = this.step;
    const { body } = plugin.definition;
    const isRequest = this.ends.hook === "requestBody";
    if ((isRequest ? body?.request : body?.response)?.overflow === "bypass") {
      this.isBypassed = true;
      this.ends.settleLength(this, -1);
      for (const chunk of this.chunks) this.next.push(chunk);
      this.chunks = [];
      this.next.push(bytes);
      return;
    }
    this.chunks = [];
    this.ends.fail(tooLarge(this.ends.hook, plugin.id, bufferBytes), position);
  }

  finish(): void {
    if (this.isBypassed) return this.next.finish();
    const { plugin } = this.step;
    const body = new HeldBody(
      this.chunks.length === 1 ? this.chunks[0]! : Buffer.concat(this.chunks),
    );
    this.chunks = [];
    if (plugin.trip.tripped && plugin.trip.isOpen()) {
      return plugin.onError === "open"
        ? this.pass(undefined, body)
        : this.recover(offReply(plugin.id), body);
    }
    try {
      const result = this.step.run(body, this.ends.ctx);
      if (result instanceof Promise) return this.wait(result, body);
      if (plugin.trip.tripped) plugin.trip.succeeded();
      this.pass(result, body);
    } catch (error) {
      this.recover(failed(plugin, this.ends.hook, error), body);
    }
  }

  private wait(promise: Promise<unknown>, body: HeldBody): void {
    waitFor({ plugin: this.step.plugin, hook: this.ends.hook }, promise, {
      done: (value) => this.pass(value, body),
      failed: (answer) => this.recover(answer, body),
    });
  }

  private pass(result: unknown, body: HeldBody): void {
    if (this.ends.over) return;
    if (result instanceof Reply) return this.ends.reply(result, this.step.position);
    if (body.isChanged && this.ends.hook === "responseBody") {
      for (const name of digests) this.ends.ctx.res?.headers.delete(name);
    }
    this.ends.settleLength(this, body.bytes.length);
    if (body.bytes.length > 0) this.next.push(body.bytes);
    this.next.finish();
  }

  private recover(answer: Reply | null, body: HeldBody): void {
    if (answer !== null)
      return this.ends.fail(new ProxyError("plugin-error", answer.detail), this.step.position);
    body.restore();
    this.pass(undefined, body);
  }
}

function offReply(id: string): Reply {
  return new Reply(500, [], null, "plugin-error", `plugin ${id} is off: it failed repeatedly`);
}

/** 413 for a request, 502 for a response. */
export function tooLarge(
  hook: "requestBody" | "responseBody",
  id: string,
  bytes: number,
): ProxyError {
  return hook === "requestBody"
    ? new ProxyError(
        "body-too-large",
        `the request body is over the ${bytes} bytes that plugin ${id} takes`,
      )
    : new ProxyError(
        "upstream-invalid",
        `the response body is over the ${bytes} bytes that plugin ${id} takes`,
      );
}

function copy(bytes: Uint8Array): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes);
}

/** The body that a buffering hook sees. */
class HeldBody implements BufferedBody {
  bytes: Uint8Array;
  isChanged = false;
  private readonly received: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.received = bytes;
  }

  text(): string {
    return new TextDecoder().decode(this.bytes);
  }

  json(): unknown {
    return JSON.parse(this.text());
  }

  set(bytes: Uint8Array | string): void {
    this.bytes = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    this.isChanged = true;
  }

  setJson(value: unknown): void {
    this.set(JSON.stringify(value));
  }

  /** A hook that failed open changed nothing. */
  restore(): void {
    this.bytes = this.received;
    this.isChanged = false;
  }
}
