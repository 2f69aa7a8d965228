/** A listener's plugins on connections that carry no HTTP: compiled once per configuration, run per connection. */

import { bound, sortInstances } from "./compile.ts";
import { failed, refusal, waitFor } from "./guard.ts";
import { Rejection } from "./tcp-plugin.ts";
import type { PluginInstance, Step } from "./chain.ts";
import type { Direction, TcpAttempt, TcpConnection, TcpDone, TcpHooks } from "./tcp-plugin.ts";

/** How long the first bytes are waited for unless a plugin says otherwise, in milliseconds. */
export const peekMs = 200;

export interface TcpChain {
  readonly plugins: readonly PluginInstance[];
  readonly accept: readonly Step<NonNullable<TcpHooks["accept"]>>[] | null;
  readonly peek: readonly Step<NonNullable<TcpHooks["peek"]>>[] | null;
  /** The most that a `peek` hook wants; 0: none does. */
  readonly peekBytes: number;
  readonly peekTimeoutMs: number;
  readonly attempt: readonly Step<NonNullable<TcpHooks["attempt"]>>[] | null;
  readonly data: readonly Step<NonNullable<TcpHooks["data"]>>[] | null;
  /** Reverse order. */
  readonly done: readonly Step<NonNullable<TcpHooks["done"]>>[] | null;
}

/** Null for an empty list. Throws `ChainError` as `compileChain` does. */
export function compileTcpChain(
  instances: readonly PluginInstance[],
  known: ReadonlySet<string>,
): TcpChain | null {
  if (instances.length === 0) return null;
  const plugins = sortInstances(instances, "gateway", known);
  const modes = plugins.flatMap(({ definition }) => definition.peek ?? []);
  return {
    plugins,
    accept: steps(plugins, plugins, "accept"),
    peek: steps(plugins, plugins, "peek"),
    peekBytes: Math.max(0, ...modes.map(({ bytes }) => bytes)),
    peekTimeoutMs: Math.max(0, ...modes.map(({ timeoutMs }) => timeoutMs ?? peekMs)),
    attempt: steps(plugins, plugins, "attempt"),
    data: steps(plugins, plugins, "data"),
    done: steps(plugins, plugins.toReversed(), "done"),
  };
}

function steps<Name extends keyof TcpHooks>(
  plugins: readonly PluginInstance[],
  order: readonly PluginInstance[],
  name: Name,
): Step<NonNullable<TcpHooks[Name]>>[] | null {
  const found: Step<NonNullable<TcpHooks[Name]>>[] = [];
  for (const plugin of order) {
    const { tcp } = plugin.hooks;
    const run = tcp?.[name];
    if (tcp !== undefined && run !== undefined)
      found.push({ plugin, run: bound(tcp, run), position: plugins.indexOf(plugin) });
  }
  return found.length === 0 ? null : found;
}

/** The plugins of one connection: how far they were reached, and that each hears of the end once. */
export class TcpRun {
  private readonly chain: TcpChain;
  private readonly conn: TcpConnection;
  /** Position of the last plugin that was reached. */
  private reached = -1;
  private isOver = false;

  constructor(chain: TcpChain, conn: TcpConnection) {
    this.chain = chain;
    this.conn = conn;
  }

  /** @param goOn called once, at once where no plugin waits; never after {@link done} */
  accept(goOn: (rejection: Rejection | null) => void): void {
    this.acceptFrom(0, goOn);
  }

  private acceptFrom(from: number, goOn: (rejection: Rejection | null) => void): void {
    const { accept, plugins } = this.chain;
    for (let i = from; accept !== null && i < accept.length; i++) {
      const { plugin, run, position } = accept[i]!;
      this.reached = position;
      const result = guarded(plugin, "accept", () => run(this.conn));
      if (result instanceof Rejection) return goOn(result);
      if (!isPromise(result)) continue;
      return waitFor({ plugin, hook: "accept" }, result, {
        done: (value) => {
          if (this.isOver) return;
          if (value instanceof Rejection) goOn(value);
          else this.acceptFrom(i + 1, goOn);
        },
        failed: (answer) => {
          if (this.isOver) return;
          if (answer !== null) goOn(new Rejection(answer.detail));
          else this.acceptFrom(i + 1, goOn);
        },
      });
    }
    this.reached = plugins.length - 1;
    goOn(null);
  }

  peek(first: Uint8Array): Rejection | null {
    return firstRejection(this.chain.peek, "peek", (run) => run(first, this.conn));
  }

  attempt(info: TcpAttempt): Rejection | null {
    return firstRejection(this.chain.attempt, "attempt", (run) => run(info, this.conn));
  }

  /** What goes on in the place of the chunk: perhaps the chunk itself, perhaps nothing. */
  data(chunk: Buffer, from: Direction): Uint8Array | Rejection {
    let bytes: Uint8Array = chunk;
    const { data } = this.chain;
    for (let i = 0; data !== null && i < data.length; i++) {
      const { plugin, run } = data[i]!;
      const before = bytes;
      const result = guarded(plugin, "data", () => run(before, from, this.conn));
      if (result instanceof Rejection) return result;
      if (result instanceof Uint8Array) bytes = result;
      if (bytes.length === 0) break;
    }
    return bytes;
  }

  /** The end, whatever it was: each plugin that was reached, in reverse. Further calls do nothing. */
  done(info: TcpDone): void {
    if (this.isOver) return;
    this.isOver = true;
    for (const { plugin, run, position } of this.chain.done ?? []) {
      if (position > this.reached) continue;
      try {
        run(info, this.conn);
      } catch (error) {
        failed(plugin, "done", error);
      }
    }
  }
}

function firstRejection<Hook>(
  list: readonly Step<Hook>[] | null,
  name: string,
  call: (run: Hook) => Rejection | undefined | void,
): Rejection | null {
  for (const { plugin, run } of list ?? []) {
    const result = guarded(plugin, name, () => call(run));
    if (result instanceof Rejection) return result;
  }
  return null;
}

/** Calls a hook unless its plugin is tripped; a throw is a rejection where the plugin fails closed. */
function guarded<T>(
  plugin: PluginInstance,
  hook: string,
  call: () => T,
): T | Rejection | undefined {
  try {
    if (plugin.trip.tripped && plugin.trip.isOpen()) {
      const answer = refusal(plugin);
      return answer === null ? undefined : new Rejection(answer.detail);
    }
    const result = call();
    if (plugin.trip.tripped && !isPromise(result)) plugin.trip.succeeded();
    return result;
  } catch (error) {
    const answer = failed(plugin, hook, error);
    return answer === null ? undefined : new Rejection(answer.detail);
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}
