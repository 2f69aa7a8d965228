/** Peak EWMA beyond the shared suite: it follows latency, load and failures. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { PeakEwma, decayMs } from "../../policies/balance/ewma.ts";
import {
  balancerSuite,
  endpointsOf,
  seededRandom,
  shares,
  type TestEndpoint,
} from "./balancer-suite.ts";

balancerSuite("ewma", () => new PeakEwma());

test("an endpoint ten times slower gets little of the traffic", () => {
  const balancer = new PeakEwma();
  const endpoints = endpointsOf(balancer, [1, 1]);
  const counts = shares(balancer, endpoints, {
    picks: 2000,
    latencyOf: ({ name }) => (name === "b" ? 50 : 5),
  });
  assert.ok(counts["b"]! < 200, JSON.stringify(counts));
});

test("weights do not protect a slow endpoint", () => {
  const balancer = new PeakEwma();
  const endpoints = endpointsOf(balancer, [1, 2]);
  const counts = shares(balancer, endpoints, {
    picks: 2000,
    latencyOf: ({ name }) => (name === "b" ? 50 : 5),
  });
  assert.ok(counts["b"]! < 300, JSON.stringify(counts));
});

test("of two equally fast endpoints the less busy one is picked", () => {
  const balancer = new PeakEwma();
  const [a, b] = endpointsOf(balancer, [1, 1]);
  for (const endpoint of [a!, b!]) balancer.observe(endpoint, 10, false, 1);
  a!.active = 3;
  for (let i = 0; i < 20; i++) assert.equal(balancer.pick([a!, b!], 1, seededRandom(i)), b);
});

test("busyness counts before any answer has come", () => {
  const balancer = new PeakEwma();
  const [a, b] = endpointsOf(balancer, [1, 1]);
  b!.active = 1;
  for (let i = 0; i < 20; i++) assert.equal(balancer.pick([a!, b!], 1, seededRandom(i)), a);
});

test("a slower answer counts at once, a faster one over the decay", () => {
  const balancer = new PeakEwma();
  const [a] = endpointsOf(balancer, [1]);
  balancer.observe(a!, 10, false, 0);
  balancer.observe(a!, 100, false, 100);
  assert.equal(balancer.latencyMs(a!), 100);
  balancer.observe(a!, 10, false, 100 + decayMs);
  const expected = 100 / Math.E + 10 * (1 - 1 / Math.E);
  assert.ok(Math.abs(balancer.latencyMs(a!) - expected) < 1e-9);
});

test("an endpoint that was slow once is tried again after a while", () => {
  const balancer = new PeakEwma();
  const [a, b] = endpointsOf(balancer, [1, 1]);
  balancer.observe(b!, 1000, false, 0);
  balancer.observe(a!, 10, false, 0);
  let nowMs = 0;
  let tries = 0;
  while (balancer.pick([a!, b!], nowMs, seededRandom(tries)) === a) {
    nowMs += 100;
    balancer.observe(a!, 10, false, nowMs);
    assert.ok(++tries < 1000, "never tried again");
  }
  assert.ok(nowMs > 10_000, `already after ${nowMs} ms`);
});

test("an endpoint that fails at once does not look fast", () => {
  const balancer = new PeakEwma();
  const [a, b] = endpointsOf(balancer, [1, 1]);
  balancer.observe(a!, 5, false, 0);
  for (let i = 0; i < 5; i++) balancer.observe(b!, 0.2, true, i);
  assert.equal(balancer.pick([a!, b!], 5, seededRandom(1)), a);
  assert.ok(balancer.latencyMs(b!) >= 100);
});

test("failures never push a score beyond 10 s", () => {
  const balancer = new PeakEwma();
  const [a] = endpointsOf(balancer, [1]);
  for (let i = 0; i < 100; i++) balancer.observe(a!, 1, true, i);
  assert.equal(balancer.latencyMs(a!), 10_000);
});

test("a new endpoint starts at the median of its peers", () => {
  const balancer = new PeakEwma();
  const endpoints = endpointsOf(balancer, [1, 1, 1]);
  for (const [i, ms] of [10, 20, 300].entries()) balancer.observe(endpoints[i]!, ms, false, 0);
  const late: TestEndpoint = { name: "late", weight: 1, active: 0, balance: null };
  late.balance = balancer.createState(endpoints, 0);
  assert.equal(balancer.latencyMs(late), 20);
});

test("a clock that steps back changes nothing for the worse", () => {
  const balancer = new PeakEwma();
  const [a] = endpointsOf(balancer, [1]);
  balancer.observe(a!, 10, false, 1000);
  balancer.observe(a!, 5, false, 900);
  assert.equal(balancer.latencyMs(a!), 10);
});
