/** A route's plugins, compiled: per phase an array of steps or null. */

import type { Ctx, Hooks, Mode, AnyPlugin, Stage } from "./plugin.ts";
import type { Trip } from "./trip.ts";
import type { RequestHead } from "../http/head.ts";

/** One configured plugin that has been set up. Shared by routes whose configuration for it is the same. */
export interface PluginInstance {
  readonly id: string;
  readonly name: string;
  readonly stage: Stage;
  readonly definition: AnyPlugin;
  readonly hooks: Hooks;
  readonly onError: "open" | "closed";
  /** Milliseconds for a promise of `request` or `response`. */
  readonly timeoutMs: number;
  /** Null: always. Evaluated once per exchange. */
  readonly when: ((req: RequestHead, ctx: Ctx) => boolean) | null;
  /** Ids or names that the operator wants after this one; those of the definition hold besides. */
  readonly before: readonly string[];
  /** Ids or names that the operator wants before this one. */
  readonly after: readonly string[];
  /** Trips after repeated throws. */
  readonly trip: Trip;
  readonly watch: PluginWatch;
}

/** Where the runner reports what a plugin did; the instance store makes it log and count. */
export interface PluginWatch {
  /** Calls of request and response hooks until the next one that is timed: the first, then one in {@link timedEvery}. */
  untilTimed: number;
  failed(hook: string, error: unknown): void;
  /** How long a timed call took, the wait for its promise included. */
  took(seconds: number): void;
}

/** Odd, so that request and response hooks both have their turn. */
export const timedEvery = 61;

/** A phase's step: which plugin, and where it stands in the chain. */
export interface Step<Hook> {
  readonly plugin: PluginInstance;
  readonly run: Hook;
  /** Index in {@link Chain.plugins}. */
  readonly position: number;
}

/** A step over a body. */
export interface BodyStep<Hook> extends Step<Hook> {
  /** Bytes held at most before the hook sees them all; -1: the hook sees each chunk. */
  readonly bufferBytes: number;
}

export interface Chain {
  readonly mode: Mode;
  /** In run order. */
  readonly plugins: readonly PluginInstance[];
  /** True when a plugin has a `when`: only then is there a cache of answers per exchange. */
  readonly conditional: boolean;
  readonly connection: readonly Step<NonNullable<Hooks["connection"]>>[] | null;
  readonly early: readonly Step<NonNullable<Hooks["early"]>>[] | null;
  readonly request: readonly Step<NonNullable<Hooks["request"]>>[] | null;
  readonly requestBody: readonly BodyStep<NonNullable<Hooks["requestBody"]>>[] | null;
  readonly attempt: readonly Step<NonNullable<Hooks["attempt"]>>[] | null;
  readonly attemptResult: readonly Step<NonNullable<Hooks["attemptResult"]>>[] | null;
  /** Reverse order. */
  readonly response: readonly Step<NonNullable<Hooks["response"]>>[] | null;
  /** Reverse order. */
  readonly responseBody: readonly BodyStep<NonNullable<Hooks["responseBody"]>>[] | null;
  /** Reverse order. */
  readonly error: readonly Step<NonNullable<Hooks["error"]>>[] | null;
  /** Reverse order. */
  readonly done: readonly Step<NonNullable<Hooks["done"]>>[] | null;
}
