/** The two system calls that Node lacks, through its foreign function interface (Node 26; absent on 24). */

interface SystemCalls {
  readonly dup: (fd: number) => number;
  readonly _exit: (code: number) => void;
}

let loaded: SystemCalls | null | undefined;

async function systemCalls(): Promise<SystemCalls | null> {
  if (loaded !== undefined) return loaded;
  const emitWarning = process.emitWarning;
  try {
    // "FFI is an experimental feature": known and pinned; said once to nobody. Other warnings pass.
    process.emitWarning = ((warning: string | Error, ...rest: unknown[]) => {
      if (!String(warning).startsWith("FFI is an experimental")) {
        Reflect.apply(emitWarning, process, [warning, ...rest]);
      }
    }) as typeof process.emitWarning;
    const ffi = await import("node:ffi");
    const { functions } = ffi.dlopen(null, {
      dup: { arguments: ["i32"], return: "i32" },
      _exit: { arguments: ["i32"], return: "void" },
    });
    loaded = functions as unknown as SystemCalls;
  } catch {
    loaded = null;
  } finally {
    process.emitWarning = emitWarning;
  }
  return loaded;
}

/** Copies a descriptor, or null where that cannot be done. Call {@link canDuplicate} first. */
export function duplicate(fd: number): number | null {
  const copy = loaded?.dup(fd) ?? -1;
  return copy === -1 ? null : copy;
}

/** Loads what {@link duplicate} needs; false on a Node without foreign functions. */
export async function canDuplicate(): Promise<boolean> {
  return (await systemCalls()) !== null;
}

/**
 * Ends the process without waiting for the thread pool: `process.exit` joins its threads, one of which hangs for
 * ever in a write to a pipe that nobody reads.
 */
export function exitAtOnce(code: number): never {
  loaded?._exit(code);
  process.exit(code);
}
