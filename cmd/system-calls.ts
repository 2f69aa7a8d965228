/** The system calls that Node lacks, through its foreign function interface (Node 26; absent on 24). */

interface SystemCalls {
  readonly dup: (fd: number) => number;
  readonly _exit: (code: number) => void;
  readonly setsockopt: (...args: [number, number, number, Buffer, number]) => number;
  readonly getsockopt: (...args: [number, number, number, Buffer, Buffer]) => number;
  /** Where bytes stand in memory. */
  readonly addressOf: (bytes: Buffer) => bigint;
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
      setsockopt: { arguments: ["i32", "i32", "i32", "buffer", "i32"], return: "i32" },
      getsockopt: { arguments: ["i32", "i32", "i32", "buffer", "buffer"], return: "i32" },
    });
    loaded = { ...functions, addressOf: ffi.getRawPointer } as unknown as SystemCalls;
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
 * Has the kernel drop every packet that would open a new connection of this listening socket; those under way get
 * through. Who is not let in asks again after a second, and finds the port closed.
 * @returns false where that cannot be done: anywhere but on Linux
 */
export function dropNew(fd: number): boolean {
  if (loaded == null || process.platform !== "linux") return false;
  // struct sock_fprog: how many instructions, and where (linux/filter.h)
  const program = Buffer.alloc(16);
  program.writeUInt16LE(dropSyn.length / 8, 0);
  program.writeBigUInt64LE(loaded.addressOf(dropSyn), 8);
  return loaded.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, program, program.length) === 0;
}

/** Connections that wait to be accepted from this listening socket; 0 where nobody can say. */
export function queued(fd: number): number {
  if (loaded == null || process.platform !== "linux") return 0;
  const info = Buffer.alloc(104);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(info.length);
  const done = loaded.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, length) === 0;
  // tcpi_unacked: of a listening socket it is the length of its queue
  return done ? info.readUInt32LE(24) : 0;
}

const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;

/** Classic BPF over the TCP header: SYN without ACK is dropped, all else passes. */
const dropSyn = instructions([
  // the flags; of them SYN and ACK; SYN alone goes to the next line, all else to the one after
  [0x30, 0, 0, 13],
  [0x54, 0, 0, 0x12],
  [0x15, 0, 1, 0x02],
  [0x06, 0, 0, 0],
  [0x06, 0, 0, 0xffffffff],
]);

/** Each: code, jump if true, jump if false, operand. */
function instructions(all: readonly (readonly [number, number, number, number])[]): Buffer {
  const bytes = Buffer.alloc(all.length * 8);
  for (const [i, [code, yes, no, operand]] of all.entries()) {
    bytes.writeUInt16LE(code, i * 8);
    bytes[i * 8 + 2] = yes;
    bytes[i * 8 + 3] = no;
    bytes.writeUInt32LE(operand, i * 8 + 4);
  }
  return bytes;
}

/**
 * Ends the process without waiting for the thread pool: `process.exit` joins its threads, one of which hangs for
 * ever in a write to a pipe that nobody reads.
 */
export function exitAtOnce(code: number): never {
  loaded?._exit(code);
  process.exit(code);
}
