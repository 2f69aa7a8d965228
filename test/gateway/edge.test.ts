/** What the edge and the sidecars say and believe about callers. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { edgeTrust } from "../../gateway/edge.ts";
import { inboundTrust, outboundTrust } from "../../mesh/trust.ts";
import type { ConnectionInfo, HeaderTrust } from "../../proxy/exchange.ts";
import { Kind } from "../../proxy/http/fields.ts";
import { RequestHead } from "../../proxy/http/head.ts";
import { parseRequestHead } from "../../proxy/http1/head.ts";
import type { Peer } from "../../proxy/pipeline/plugin.ts";

function request(...fields: string[]): RequestHead {
  const head = new RequestHead();
  const text = `GET / HTTP/1.1\r\nHost: Api.Example.com:8080\r\n${fields.map((field) => `${field}\r\n`).join("")}\r\n`;
  const bytes = Buffer.from(text, "latin1");
  const limits = { headerBytes: 60 * 1024, headerCount: 100 };
  assert.ok(parseRequestHead(bytes, 0, bytes.length, head, limits) > 0, text);
  return head;
}

function connection(
  address = "192.0.2.7",
  secure = true,
  peer: Peer | null = null,
): ConnectionInfo {
  const client = { address, port: 1, socketAddress: address, tls: null };
  return { client, peer, listener: "web", secure, misdirected: () => false };
}

const lines = (trust: HeaderTrust, req: RequestHead, conn = connection()): string[] =>
  trust.lines(req, conn).split("\r\n").slice(0, -1);

const peer: Peer = {
  id: "spiffe://weft.local/service/web",
  trustDomain: "weft.local",
  service: "web",
};

test("with no trusted hop the edge writes what it knows from the socket", () => {
  const trust = edgeTrust(0);
  const req = request("X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9");
  assert.deepEqual(lines(trust, req), [
    "x-forwarded-for: 192.0.2.7",
    "x-forwarded-proto: https",
    "x-forwarded-host: api.example.com:8080",
    'forwarded: for=192.0.2.7;host="api.example.com:8080";proto=https',
  ]);
  assert.equal(trust.clientAddress(req, "192.0.2.7"), "192.0.2.7");
});

test("with no trusted hop nothing that a caller claims goes on", () => {
  const { drop, dropUnderscore, honourControl } = edgeTrust(0);
  for (const kind of [
    Kind.forwarded,
    Kind.xForwardedFor,
    Kind.xForwardedProto,
    Kind.xForwardedHost,
    Kind.weft,
    Kind.control,
    Kind.deadline,
    Kind.grpcTimeout,
    Kind.underscore,
  ]) {
    assert.equal(drop[kind], 1);
  }
  for (const kind of [Kind.other, Kind.traceparent, Kind.idempotencyKey])
    assert.equal(drop[kind], 0);
  assert.equal(dropUnderscore, true);
  assert.equal(honourControl(null), false);
});

test("an IPv6 caller is quoted in Forwarded", () => {
  const [, , , forwarded] = lines(edgeTrust(0), request(), connection("2001:db8::1", false));
  assert.equal(forwarded, 'forwarded: for="[2001:db8::1]";host="api.example.com:8080";proto=http');
});

test("a connection that asks for another host gets that host's lines", () => {
  const trust = edgeTrust(0);
  const conn = connection();
  const first = request();
  const second = request();
  second.authority = "other.example.com";
  assert.match(trust.lines(first, conn), /x-forwarded-host: api\.example\.com:8080/);
  assert.match(trust.lines(second, conn), /x-forwarded-host: other\.example\.com\r/);
  assert.match(trust.lines(first, conn), /x-forwarded-host: api\.example\.com:8080/);
});

test("with trusted hops what came is kept and the socket's address appended", () => {
  const trust = edgeTrust(1);
  const req = request(
    "X-Forwarded-For: 203.0.113.9, 198.51.100.4",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Host: shop.example.com",
  );
  assert.deepEqual(lines(trust, req), [
    "x-forwarded-for: 203.0.113.9, 198.51.100.4, 192.0.2.7",
    'forwarded: for=203.0.113.9, for=198.51.100.4, for=192.0.2.7;host="api.example.com:8080";proto=https',
  ]);
  assert.equal(trust.drop[Kind.xForwardedProto], 0);
  assert.equal(trust.drop[Kind.xForwardedHost], 0);
  assert.equal(trust.drop[Kind.forwarded], 0);
});

test("a trusted hop that said nothing gets the whole from the socket", () => {
  assert.deepEqual(lines(edgeTrust(2), request()), [
    "x-forwarded-for: 192.0.2.7",
    "x-forwarded-proto: https",
    "x-forwarded-host: api.example.com:8080",
    'forwarded: for=192.0.2.7;host="api.example.com:8080";proto=https',
  ]);
});

test("Forwarded that came is kept, and read when there is no X-Forwarded-For", () => {
  const trust = edgeTrust(1);
  const req = request('Forwarded: for="[2001:db8::9]:4711";proto=https, for=198.51.100.4');
  assert.deepEqual(lines(trust, req), [
    "x-forwarded-for: 2001:db8::9, 198.51.100.4, 192.0.2.7",
    "x-forwarded-proto: https",
    "x-forwarded-host: api.example.com:8080",
    'forwarded: for=192.0.2.7;host="api.example.com:8080";proto=https',
  ]);
  assert.equal(trust.clientAddress(req, "192.0.2.7"), "198.51.100.4");
});

test("the client is the address that the outermost trusted hop saw", () => {
  const cases: [hops: number, forwardedFor: string, client: string][] = [
    [1, "203.0.113.9", "203.0.113.9"],
    [1, "6.6.6.6, 203.0.113.9", "203.0.113.9"],
    [2, "6.6.6.6, 203.0.113.9, 198.51.100.4", "203.0.113.9"],
    [3, "203.0.113.9, 198.51.100.4", "203.0.113.9"],
    [1, "203.0.113.9:55012", "203.0.113.9"],
    [1, "[2001:db8::9]:1", "2001:db8::9"],
    [1, "unknown", "192.0.2.7"],
    [2, "nonsense, 198.51.100.4", "198.51.100.4"],
    [1, ", ,", "192.0.2.7"],
  ];
  for (const [hops, value, client] of cases) {
    const req = request(`X-Forwarded-For: ${value}`);
    assert.equal(edgeTrust(hops).clientAddress(req, "192.0.2.7"), client, `${hops} of ${value}`);
  }
});

test("two X-Forwarded-For fields are one list", () => {
  const req = request("X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 198.51.100.4");
  assert.equal(edgeTrust(2).clientAddress(req, "192.0.2.7"), "203.0.113.9");
  assert.equal(
    lines(edgeTrust(2), req)[0],
    "x-forwarded-for: 203.0.113.9, 198.51.100.4, 192.0.2.7",
  );
});

test("a sidecar tells the app who called, and nobody else may", () => {
  const trust = inboundTrust();
  const req = request(
    "X-Weft-Peer: spiffe://weft.local/service/admin",
    "X-Forwarded-For: 203.0.113.9",
  );
  assert.deepEqual(lines(trust, req, connection("10.0.0.2", true, peer)), [
    "x-weft-peer: spiffe://weft.local/service/web",
  ]);
  assert.equal(trust.drop[Kind.weft], 1);
  assert.equal(trust.drop[Kind.xForwardedFor], 0);
  assert.deepEqual(lines(trust, req, connection("10.0.0.2", false, null)), []);
  assert.equal(trust.honourControl(peer), true);
  assert.equal(trust.honourControl(null), false);
});

test("a consumer that a verified peer found reaches the app, one that a stranger claims does not", () => {
  const trust = inboundTrust();
  const req = request("X-Weft-Consumer: acme");
  assert.deepEqual(lines(trust, req, connection("10.0.0.2", true, peer)), [
    "x-weft-peer: spiffe://weft.local/service/web",
    "x-weft-consumer: acme",
  ]);
  assert.deepEqual(lines(trust, req, connection("10.0.0.2", false, null)), []);
  req.headers.set("x-weft-consumer", "ours");
  assert.deepEqual(lines(trust, req, connection("10.0.0.2", true, peer)), [
    "x-weft-peer: spiffe://weft.local/service/web",
  ]);
});

test("the app's own calls keep their forwarding and deadline headers", () => {
  const trust = outboundTrust();
  assert.deepEqual(lines(trust, request("X-Forwarded-For: 203.0.113.9")), []);
  for (const kind of [Kind.xForwardedFor, Kind.forwarded, Kind.deadline, Kind.grpcTimeout]) {
    assert.equal(trust.drop[kind], 0);
  }
  assert.equal(trust.drop[Kind.weft], 1);
  assert.equal(trust.honourControl(null), true);
});
