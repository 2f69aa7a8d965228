/** Free TCP ports for tests. */

import net from "node:net";

/**
 * Below the ranges from which systems take ports for outgoing connections, so that none of those takes a port between
 * our look and the listener's bind; picked at random, so that test files that run side by side rarely meet.
 */
const lowest = 20_000;
const highest = 32_000;

/** `count` different loopback ports that were free a moment ago. All are held while the others are picked. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: net.Server[] = [];
  while (servers.length < count) {
    const server = await bind(lowest + Math.floor(Math.random() * (highest - lowest)));
    if (server !== null) servers.push(server);
  }
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

/** One free loopback port. */
export async function freePort(): Promise<number> {
  return (await freePorts(1))[0]!;
}

/** Null: somebody has it. */
function bind(port: number): Promise<net.Server | null> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", () => resolve(null));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
