import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  formatDuration,
  formatRate,
  formatSize,
  parseDuration,
  parseRate,
  parseSize,
  suggestDuration,
  suggestRate,
  suggestSize,
} from "../../control/units.ts";

describe("durations", () => {
  it("reads what people write", () => {
    const cases: Record<string, number> = {
      "250ms": 250,
      "5s": 5000,
      "1m": 60_000,
      "24h": 86_400_000,
      "1.5s": 1500,
      "1m30s": 90_000,
      "0": 0,
      "0s": 0,
      "2d": 172_800_000,
      "0.4ms": 0,
    };
    for (const [text, ms] of Object.entries(cases)) assert.equal(parseDuration(text), ms, text);
  });

  it("refuses what has no unit, a sign, a space or another unit", () => {
    for (const text of [
      "",
      "5",
      "-5s",
      "5 s",
      "s",
      "5S",
      "5sec",
      "1e3s",
      "5s ",
      "1_000ms",
      ".5s",
      "5.s",
      "NaNs",
      "Infinitys",
      "٥s",
    ])
      assert.equal(parseDuration(text), null, text);
  });

  it("refuses a very long text at once", () => {
    assert.equal(parseDuration("1s".repeat(1_000_000)), null);
  });

  it("writes what it reads", () => {
    fc.assert(
      fc.property(fc.nat(10 ** 12), (ms) => assert.equal(parseDuration(formatDuration(ms)), ms)),
    );
  });

  it("guesses the likely spelling", () => {
    assert.equal(suggestDuration("30 secs"), "30s");
    assert.equal(suggestDuration("5"), "5s");
    assert.equal(suggestDuration("2 Hours"), "2h");
    assert.equal(suggestDuration("soon"), null);
  });
});

describe("sizes", () => {
  it("reads binary and decimal units and bare bytes", () => {
    const cases: Record<string, number> = {
      "64KiB": 65_536,
      "1MiB": 1_048_576,
      "10MB": 10_000_000,
      "512B": 512,
      "512": 512,
      "1.5KiB": 1536,
      "2GiB": 2 ** 31,
    };
    for (const [text, bytes] of Object.entries(cases)) assert.equal(parseSize(text), bytes, text);
  });

  it("refuses other units", () => {
    for (const text of ["", "64k", "64kib", "-1B", "1 MiB", "1TiB", "MiB", "999999999999999GiB"])
      assert.equal(parseSize(text), null, text);
  });

  it("writes what it reads", () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31 - 1), (bytes) =>
        assert.equal(parseSize(formatSize(bytes)), bytes),
      ),
    );
  });

  it("guesses the likely spelling", () => {
    assert.equal(suggestSize("64k"), "64KiB");
    assert.equal(suggestSize("1 mb"), "1MiB");
    assert.equal(suggestSize("big"), null);
  });
});

describe("rates", () => {
  it("reads the four windows", () => {
    assert.deepEqual(parseRate("100/min"), { limit: 100, windowMs: 60_000 });
    assert.deepEqual(parseRate("5/s"), { limit: 5, windowMs: 1000 });
    assert.deepEqual(parseRate("7/h"), { limit: 7, windowMs: 3_600_000 });
    assert.deepEqual(parseRate("10000/day"), { limit: 10_000, windowMs: 86_400_000 });
  });

  it("refuses none at all, fractions and other windows", () => {
    for (const text of [
      "0/s",
      "1.5/s",
      "-1/s",
      "10/sec",
      "10",
      "/s",
      "10/m",
      "10 / s",
      "9999999999999/s",
    ])
      assert.equal(parseRate(text), null, text);
  });

  it("writes what it reads", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10 ** 9 }),
        fc.constantFrom("s", "min", "h", "day"),
        (limit, unit) => {
          assert.equal(
            formatRate(parseRate(`${limit}/${unit}`) ?? assert.fail()),
            `${limit}/${unit}`,
          );
        },
      ),
    );
  });

  it("guesses the likely spelling", () => {
    assert.equal(suggestRate("100 per minute"), "100/min");
    assert.equal(suggestRate("5/sec"), "5/s");
    assert.equal(suggestRate("5/fortnight"), null);
  });
});

it("no text makes a unit parser throw or answer with anything but a finite number", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const parsed of [parseDuration(text), parseSize(text), parseRate(text)?.limit ?? null])
        assert.ok(parsed === null || (Number.isFinite(parsed) && parsed >= 0));
    }),
  );
});
