/** Finds TCP ports on 127.0.0.1: whether one is free, and some that are. */

import net from "node:net";

/**
 * Below the ranges from which Linux (32768) and macOS (49152) take ports for outgoing connections, so that none of those
 * takes a port between our look and the listener's bind.
 */
const lowest = 20_000;
const highest = 32_000;

/** Null when `host:port` can be listened on now; else the code of the refusal (`EADDRINUSE`, `EACCES`). */
export function portRefusal(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

/**
 * `count` different ports that are free now.
 * @param random 0 to 1; where the search begins, so that two searches at the same time rarely meet
 * @throws when the whole range is taken
 */
export async function freePorts(count: number, random: () => number): Promise<number[]> {
  const found: number[] = [];
  const size = highest - lowest;
  const start = Math.floor(random() * size);
  for (let step = 0; step < size && found.length < count; step++) {
    const port = lowest + ((start + step) % size);
    if ((await portRefusal("127.0.0.1", port)) === null) found.push(port);
  }
  if (found.length < count)
    throw new Error(`fewer than ${count} free ports from ${lowest} to ${highest}`);
  return found;
}
