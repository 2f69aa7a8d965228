/** Runs a compiled chain over an exchange: no promise unless a hook returned one. */

import type { Reply } from './plugin.ts'

/** The step waits for a promise; `resume` will be called, exactly once, later. */
export const PENDING: unique symbol = Symbol('pending')
export type Outcome = Reply | null | typeof PENDING
