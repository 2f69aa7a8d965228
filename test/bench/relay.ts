/** The floor: a TCP relay in Node that reads and writes and does nothing else. `node relay.ts LISTEN UPSTREAM...` */

import net from "node:net";

const [listen, ...upstreams] = process.argv.slice(2).map(Number);
let turn = 0;

const buffer = Buffer.allocUnsafeSlow(64 * 1024);

/** A socket that reads into the one shared buffer, as the data path does. */
function join(handle: unknown, other: () => net.Socket): net.Socket {
  const callback = (length: number): boolean => {
    other().write(buffer.toString("latin1", 0, length), "latin1");
    return true;
  };
  return new net.Socket({ handle, onread: { buffer, callback } } as object);
}

net
  .createServer({ pauseOnConnect: true, noDelay: true }, (accepted) => {
    const owner = accepted as unknown as { _handle: unknown };
    const handle = owner._handle;
    owner._handle = null;
    const down: net.Socket = join(handle, () => up);
    const port = upstreams[turn++ % upstreams.length]!;
    const up: net.Socket = net.connect({
      port,
      host: "127.0.0.1",
      noDelay: true,
      onread: {
        buffer,
        callback: (length: number) => {
          down.write(buffer.toString("latin1", 0, length), "latin1");
          return true;
        },
      },
    } as net.NetConnectOpts);
    for (const [one, two] of [
      [down, up],
      [up, down],
    ] as const) {
      one.on("error", () => two.destroy());
      one.on("close", () => two.destroy());
    }
    down.resume();
  })
  .listen(listen, "127.0.0.1");
