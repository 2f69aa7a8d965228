/** The decision to shed load. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Shed } from "../../policies/shed.ts";

test("sheds from 90 % on, and until less than 85 %", () => {
  const shed = new Shed();
  const seen = [0.5, 0.89, 0.9, 0.89, 0.85, 0.84, 0.89].map((share) => [
    shed.look(share),
    shed.isOn,
  ]);
  assert.deepEqual(seen, [
    [false, false],
    [false, false],
    [true, true],
    [false, true],
    [false, true],
    [true, false],
    [false, false],
  ]);
});
