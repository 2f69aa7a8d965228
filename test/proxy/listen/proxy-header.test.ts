/** PROXY headers that weft writes: read back by its own strict parser, and byte by byte where the specification says them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ownProxyHeader, proxyHeader } from "../../../proxy/listen/proxy-header.ts";
import { parseProxyHeader } from "../../../proxy/listen/proxy-protocol.ts";
import type { Client } from "../../../proxy/pipeline/plugin.ts";

const id = "0123456789abcdef0123456789abcdef";

function client(address: string, port: number, tls: Client["tls"] = null): Client {
  return { address, port, socketAddress: address, tls };
}

const secure = {
  version: "TLSv1.3",
  cipher: "TLS_AES_256_GCM_SHA384",
  serverName: "db.example.com",
  alpn: "postgresql",
  clientCertificate: null,
};

/** Type and value of each TLV. */
function tlvs(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length;) {
    const size = bytes.readUInt16BE(at + 1);
    found.set(bytes[at]!, bytes.subarray(at + 3, at + 3 + size));
    at += 3 + size;
  }
  return found;
}

test("v1 is one line with the four parts", () => {
  const local = { address: "10.0.0.1", port: 5432 };
  const header = proxyHeader(
    "v1",
    { client: client("192.0.2.7", 56324), local, serverName: null },
    id,
  );
  assert.equal(header.toString(), "PROXY TCP4 192.0.2.7 10.0.0.1 56324 5432\r\n");
});

test("v1 says UNKNOWN when the families differ or the destination is not known", () => {
  for (const local of [{ address: "2001:db8::1", port: 1 }, null])
    assert.equal(
      proxyHeader("v1", { client: client("192.0.2.7", 1), local, serverName: null }, id).toString(),
      "PROXY UNKNOWN\r\n",
    );
});

test("any two addresses of one family are read back from either version", () => {
  const place = fc.tuple(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(65_535));
  fc.assert(
    fc.property(place, place, fc.constantFrom("v1", "v2"), (from, to, version) => {
      const isSame = from[0].includes(":") === to[0].includes(":");
      fc.pre(isSame);
      const local = { address: to[0], port: to[1] };
      const written = proxyHeader(
        version as "v1" | "v2",
        { client: client(...from), local, serverName: null },
        id,
      );
      const parsed = parseProxyHeader(written);
      assert.equal(parsed.kind, "header");
      if (parsed.kind !== "header") return;
      assert.equal(parsed.length, written.length);
      assert.equal(bytesOf(parsed.source!.address), bytesOf(from[0]));
      assert.equal(bytesOf(parsed.source!.to.address), bytesOf(to[0]));
      assert.deepEqual([parsed.source!.port, parsed.source!.to.port], [from[1], to[1]]);
    }),
  );
});

/** One text for all spellings of an address, by the URL parser. */
function bytesOf(address: string): string {
  return address.includes(":") ? new URL(`http://[${address}]/`).hostname : address;
}

test("v2 over mixed families maps the IPv4 address", () => {
  const local = { address: "2001:db8::1", port: 443 };
  const header = proxyHeader("v2", { client: client("192.0.2.7", 9), local, serverName: null }, id);
  assert.equal(header[13], 0x21);
  assert.equal(header.toString("hex", 16, 32), "00000000000000000000ffffc0000207");
});

test("v2 without a known destination keeps what else is known", () => {
  const header = proxyHeader(
    "v2",
    { client: client("192.0.2.7", 9), local: null, serverName: "a.example.com" },
    id,
  );
  assert.equal(header[13], 0);
  assert.equal(tlvs(header.subarray(16)).get(0x02)?.toString(), "a.example.com");
});

test("v2 tells the server name, ALPN, the connection's id and the caller's TLS", () => {
  const certificate = {
    subject: "O=acme\\, CN=admin, CN=batch job",
    uris: [],
    dnsNames: [],
    fingerprint256: "",
  };
  const local = { address: "10.0.0.1", port: 443 };
  const header = proxyHeader(
    "v2",
    {
      client: client("192.0.2.7", 9, { ...secure, clientCertificate: certificate }),
      local,
      serverName: "db.example.com",
    },
    id,
  );
  const found = tlvs(header.subarray(28));
  assert.equal(found.get(0x01)?.toString(), "postgresql");
  assert.equal(found.get(0x02)?.toString(), "db.example.com");
  assert.equal(found.get(0x05)?.toString(), id);
  const ssl = found.get(0x20)!;
  // TLS, and a certificate on this connection; verified
  assert.deepEqual([...ssl.subarray(0, 5)], [3, 0, 0, 0, 0]);
  const inner = tlvs(ssl.subarray(5));
  assert.equal(inner.get(0x21)?.toString(), "TLSv1.3");
  // a comma inside another part of the name does not make a common name
  assert.equal(inner.get(0x22)?.toString(), "batch job");
  assert.equal(inner.get(0x23)?.toString(), "TLS_AES_256_GCM_SHA384");
});

test("v2 of a caller over TLS without a certificate does not claim to have verified one", () => {
  const local = { address: "10.0.0.1", port: 443 };
  const source = { client: client("192.0.2.7", 9, secure), local, serverName: null };
  const ssl = tlvs(proxyHeader("v2", source, id).subarray(28)).get(0x20)!;
  assert.equal(ssl[0], 1);
  assert.notEqual(ssl.readUInt32BE(1), 0);
});

test("a health check speaks for itself: v1 UNKNOWN, v2 LOCAL", () => {
  for (const version of ["v1", "v2"] as const) {
    const header = ownProxyHeader(version);
    assert.deepEqual(parseProxyHeader(header), {
      kind: "header",
      length: header.length,
      source: null,
    });
  }
});
