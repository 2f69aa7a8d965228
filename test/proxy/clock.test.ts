/** The wheel of time: what is due fires, late at most, and never before what came in time has been read. */

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { Timed, Wheel } from "../../proxy/clock.ts";

class Note extends Timed {
  readonly due: () => void;
  constructor(due: () => void) {
    super();
    this.due = due;
  }
  override onDue(): void {
    this.due();
  }
}

test("fires what is due, at its tick or later, and what was disarmed never", () => {
  const wheel = new Wheel(() => 0);
  const fired: string[] = [];
  const early = new Note(() => fired.push("early"));
  const late = new Note(() => fired.push("late"));
  const never = new Note(() => fired.push("never"));
  // one lap of the wheel apart: they share a slot
  wheel.arm(late, 10_260);
  wheel.arm(early, 20);
  wheel.arm(never, 20);
  wheel.disarm(never);
  wheel.advance(19);
  assert.deepEqual(fired, []);
  wheel.advance(20);
  assert.deepEqual(fired, ["early"]);
  wheel.advance(10_260);
  assert.deepEqual(fired, ["early", "late"]);
  assert.equal(wheel.size, 0);
});

test("sleeps until the next entry, also when an earlier one comes", async () => {
  let looks = 0;
  const wheel = new Wheel(() => {
    looks++;
    return performance.now();
  });
  wheel.start();
  try {
    const fired: string[] = [];
    await new Promise<void>((resolve) => {
      const late = new Note(() => {
        fired.push("late");
        resolve();
      });
      wheel.arm(late, performance.now() + 300);
      wheel.arm(new Note(() => fired.push("early")), performance.now() + 30);
    });
    assert.deepEqual(fired, ["early", "late"]);
    // a wheel that turns all the time looks thirty times
    assert.ok(looks < 15, `looked at the clock ${looks} times`);
  } finally {
    wheel.stop();
  }
});

test("after a standstill, bytes that had come in time are read before anybody is called late", async () => {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const caller = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1");
  const [socket] = (await once(server, "connection")) as [net.Socket];
  const wheel = new Wheel();
  wheel.start();
  try {
    for (let times = 0; times < 5; times++) {
      const order: string[] = [];
      const due = new Promise<void>((resolve) => {
        wheel.arm(
          new Note(() => {
            order.push("due");
            resolve();
          }),
          performance.now() + 50,
        );
      });
      socket.once("data", () => order.push("data"));
      caller.write("x");
      // nothing turns meanwhile, as if the process were stopped
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
      await due;
      assert.deepEqual(order, ["data", "due"]);
    }
  } finally {
    wheel.stop();
    caller.destroy();
    socket.destroy();
    server.close();
  }
});
