/** A slice of every fuzzed property, and every seed that failed once. The seed is fixed: a run that fails, fails again. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { findFailure, keptSeeds } from "./property.ts";
import { properties } from "./properties.ts";

const seed = Number(process.env["WEFT_FUZZ_SEED"] ?? 20_261_121);

describe("for any input:", () => {
  for (const property of properties) {
    test(property.name, async () => {
      const failure = await findFailure(property, { seed, runs: property.runs });
      assert.equal(failure, null, failure?.report ?? "");
    });
  }
});

describe("no longer:", () => {
  for (const kept of keptSeeds()) {
    test(`${kept.property}, seed ${kept.seed}: ${kept.what}`, async () => {
      const property = properties.find(({ name }) => name === kept.property);
      assert.ok(property !== undefined, "seeds.json names a property that is gone");
      const failure = await findFailure(property, { seed: kept.seed, runs: 1, path: kept.path });
      assert.equal(failure, null, failure?.report ?? "");
    });
  }
});
