/** Why a listener cannot listen, in words. */

/** Cannot listen: the address is taken, not ours, or not permitted. `code` is the system's. */
export class ListenError extends Error {
  readonly code: string;
  constructor(where: string, cause: NodeJS.ErrnoException) {
    const why: Record<string, string> = {
      EADDRINUSE: "another process has this port",
      EADDRNOTAVAIL: "this machine does not have that address",
      EACCES: "not permitted (ports below 1024 need a privilege)",
    };
    super(`listen on ${where}: ${why[cause.code ?? ""] ?? cause.message}`, { cause });
    this.name = "ListenError";
    this.code = cause.code ?? "";
  }
}
