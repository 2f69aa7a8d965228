/** What stands between the runner and a plugin's code: `when`, the trip, the deadline of a promise, and what a failure means. */

import { problem } from "./plugin.ts";
import type { PluginInstance } from "./chain.ts";
import type { Reply } from "./plugin.ts";
import type { PipelineExchange } from "../exchange.ts";

/** This plugin takes no part in this exchange. */
export const skip: unique symbol = Symbol("skip");

/** Null: call it; a reply: it is tripped and fails closed. Asked only for plugins with a `when` or an open trip. */
export function askWhen(
  plugin: PluginInstance,
  position: number,
  x: PipelineExchange,
): Reply | null | typeof skip {
  if (plugin.when !== null && !holds(plugin, position, x)) return skip;
  if (plugin.trip.tripped && plugin.trip.isOpen()) return refusal(plugin) ?? skip;
  return null;
}

function holds(plugin: PluginInstance, position: number, x: PipelineExchange): boolean {
  const cache = x.whenCache;
  if (cache !== null && cache[position] !== 0) return cache[position] === 1;
  const answer = plugin.when!(x.req, x);
  if (cache !== null) cache[position] = answer ? 1 : 2;
  return answer;
}

/** What a tripped plugin answers without being called; null when it fails open. */
export function refusal(plugin: PluginInstance): Reply | null {
  if (plugin.onError === "open") return null;
  return problem(
    "plugin-error",
    500,
    `plugin ${plugin.id} is off for some seconds: it failed repeatedly`,
  );
}

/** Reports a failure; the answer when the plugin fails closed, else null. Never throws. */
export function failed(plugin: PluginInstance, hook: string, error: unknown): Reply | null {
  plugin.trip.failed();
  plugin.watch.failed(hook, error);
  if (plugin.onError === "open") return null;
  return problem("plugin-error", 500, `plugin ${plugin.id} failed in its ${hook} hook`);
}

/** Where the result of a hook that returned a promise goes: one of the two, once. */
export interface Settled {
  done(value: unknown): void;
  /** The answer when the plugin fails closed, else null. */
  failed(answer: Reply | null): void;
}

/**
 * Waits for a hook's promise, at most the plugin's `timeoutMs`; running out of time counts as a failure.
 * The one timer of the pipeline: it exists only while a promise is awaited.
 */
export function waitFor(
  step: { plugin: PluginInstance; hook: string },
  promise: PromiseLike<unknown>,
  settled: Settled,
): void {
  const { plugin, hook } = step;
  let isOver = false;
  const timer = setTimeout(() => {
    isOver = true;
    settled.failed(failed(plugin, hook, new Error(`no result within ${plugin.timeoutMs} ms`)));
  }, plugin.timeoutMs);
  promise.then(
    (value) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      if (plugin.trip.tripped) plugin.trip.succeeded();
      settled.done(value);
    },
    (error: unknown) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      settled.failed(failed(plugin, hook, error));
    },
  );
}
