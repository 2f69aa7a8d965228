/** Memory under attacks on HTTP/2 that hold something back: many connections at once, and weft keeps little for each. */

import assert from "node:assert/strict";
import fs from "node:fs";
import { after, before, test } from "node:test";
import type { OriginConnection } from "../../support/origin.ts";
import {
  Flag,
  FrameType,
  Setting,
  block,
  frame,
  integer,
  type FrameClient,
} from "./frame-client.ts";
import { Serving } from "./serving.ts";

const { endStream, endHeaders } = Flag;
const { headers, data, continuation } = FrameType;
const MIB = 1024 * 1024;
const ANSWER = MIB / 4;
const CONNECTIONS = 40;

/** GET: a quarter of a megabyte. POST: not one byte is taken. */
async function script(connection: OriginConnection): Promise<void> {
  for (;;) {
    const head = await connection.head();
    if (head === null) return;
    if (head.startsWith("POST")) return void connection.socket.pause();
    connection.send(`HTTP/1.1 200 OK\r\nContent-Length: ${ANSWER}\r\n\r\n`);
    connection.send(Buffer.alloc(ANSWER, 0x78));
  }
}

let serving: Serving;
before(async () => {
  serving = await Serving.start({ script });
});
after(() => serving.stop());

interface Attack {
  readonly settings?: readonly (readonly [number, number])[];
  /** How many at once; default {@link CONNECTIONS}. */
  readonly connections?: number;
  /** Ends when everything has been read. */
  readonly prepare: (client: FrameClient) => Promise<void>;
  /** What one connection may cost, in bytes; generous: pages are not given back at once. */
  readonly perConnection: number;
}

/** Resident set of the gateway, in bytes. */
function residentBytes(): number {
  const status = fs.readFileSync(`/proc/${serving.gateway.child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) * 1024;
}

/** What the gateway grows by while all connections are held. */
async function growth({
  settings = [],
  connections = CONNECTIONS,
  prepare,
}: Attack): Promise<number> {
  const clients: FrameClient[] = [];
  try {
    // the first ones pay for code, pools and buffers that all use
    for (let i = 0; i < 4; i++) {
      clients.push(await serving.connect({ settings }));
      await prepare(clients.at(-1)!);
    }
    const first = residentBytes();
    for (let i = 0; i < connections; i++) clients.push(await serving.connect({ settings }));
    await Promise.all(clients.slice(4).map(prepare));
    return residentBytes() - first;
  } finally {
    for (const client of clients) client.socket.destroy();
  }
}

const attacks: Readonly<Record<string, Attack>> = {
  "heads that never end": {
    perConnection: MIB,
    async prepare(client) {
      client.send(
        frame(headers, endStream, 1, client.request()),
        ...Array.from({ length: 7 }, () => frame(continuation, 0, 1, Buffer.alloc(16_000, 0x82))),
      );
      await client.next("the acknowledgement", (one) => one.flags === Flag.ack);
    },
  },
  "HPACK bombs: megabytes of fields in a block of kilobytes": {
    perConnection: MIB,
    async prepare(client) {
      const bomb = Buffer.concat([
        client.request(),
        Buffer.from([0x40, 1, 0x61]),
        integer(4000, 127, 0),
        Buffer.alloc(4000, 0x62),
        Buffer.alloc(10_000, 0xbe),
      ]);
      for (const id of [1, 3, 5, 7]) {
        client.send(frame(headers, endStream | endHeaders, id, bomb));
        assert.equal(await client.status(id), 431);
      }
    },
  },
  "64 MiB asked for with windows that stay shut": {
    settings: [[Setting.initialWindowSize, 0]],
    connections: 8,
    // half of what they ask for: one read of each answer is kept, 64 KiB
    perConnection: 4 * MIB,
    async prepare(client) {
      const ids = Array.from({ length: 32 }, (_, i) => i * 2 + 1);
      client.send(...ids.map((id) => client.get(id)));
      for (const id of ids) assert.equal(await client.status(id), 200);
    },
  },
  "uploads that nobody takes, as much as the windows allow": {
    perConnection: 4 * MIB,
    async prepare(client) {
      client.send(client.open(1), client.open(3), client.open(5));
      for (let i = 0; i < 4; i++) client.send(frame(data, 0, 1, Buffer.alloc(16_000)));
      await client.ping();
    },
  },
  "tables filled to the brim": {
    perConnection: MIB,
    async prepare(client) {
      const entries = Array.from({ length: 60 }, (_, i) => {
        const [name, value] = [`x-${client.socket.localPort}-${i}`, "v".repeat(40)];
        const text = block([name, value]);
        text[0] = 0x40;
        return text;
      });
      client.send(
        frame(headers, endStream | endHeaders, 1, Buffer.concat([client.request(), ...entries])),
        frame(FrameType.rstStream, 0, 1, Buffer.from([0, 0, 0, 8])),
      );
      await client.ping();
    },
  },
};

for (const [name, attack] of Object.entries(attacks)) {
  const { connections = CONNECTIONS, perConnection } = attack;
  test(`${name}, on ${connections} connections`, async (t) => {
    const bytes = await growth(attack);
    t.diagnostic(`${Math.round(bytes / connections / 1024)} KiB a connection`);
    assert.ok(bytes < connections * perConnection, `${Math.round(bytes / MIB)} MiB`);
    using client = await serving.connect();
    client.grant(0, MIB);
    client.send(client.get(1));
    assert.equal(await client.status(1), 200);
  });
}
