/** The PROXY protocol parser: valid headers of both versions, and every way to get one wrong. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32c } from "../../../proxy/listen/crc32c.ts";
import { parseProxyHeader } from "../../../proxy/listen/proxy-protocol.ts";

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

/** A v2 header; `size` may lie about its length. */
function v2(options: { command?: number; family?: number; body?: Buffer; size?: number }): Buffer {
  const body = options.body ?? Buffer.from([10, 0, 0, 7, 10, 0, 0, 1, 0xc0, 0x01, 0x01, 0xbb]);
  const fixed = Buffer.from("0d0a0d0a000d0a515549540a000000 00".replaceAll(" ", ""), "hex");
  fixed[12] = options.command ?? 0x21;
  fixed[13] = options.family ?? 0x11;
  fixed.writeUInt16BE(options.size ?? body.length, 14);
  return Buffer.concat([fixed, body]);
}

test("reads a v1 TCP4 line and leaves what follows", () => {
  const line = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
  assert.deepEqual(parseProxyHeader(latin1(`${line}GET / HTTP/1.1\r\n`)), {
    kind: "header",
    length: line.length,
    source: { address: "192.0.2.1", port: 56324, to: { address: "198.51.100.2", port: 443 } },
  });
});

test("reads a v1 TCP6 line", () => {
  const parsed = parseProxyHeader(latin1("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"));
  assert.deepEqual(parsed.kind === "header" && parsed.source, {
    address: "2001:db8::1",
    port: 1,
    to: { address: "2001:db8::2", port: 65535 },
  });
});

test("a v1 UNKNOWN names nobody, whatever follows it on the line", () => {
  for (const line of ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"]) {
    assert.deepEqual(parseProxyHeader(latin1(line)), {
      kind: "header",
      length: line.length,
      source: null,
    });
  }
});

test("reads v2 over IPv4 and IPv6", () => {
  const four = parseProxyHeader(v2({}));
  assert.deepEqual(four, {
    kind: "header",
    length: 28,
    source: { address: "10.0.0.7", port: 0xc001, to: { address: "10.0.0.1", port: 443 } },
  });
  const body = Buffer.alloc(36);
  body.set([0x20, 0x01, 0x0d, 0xb8], 0);
  body[15] = 9;
  body.writeUInt16BE(8080, 32);
  const six = parseProxyHeader(v2({ family: 0x21, body }));
  assert.deepEqual(six, {
    kind: "header",
    length: 52,
    source: { address: "2001:db8::9", port: 8080, to: { address: "::", port: 0 } },
  });
});

test("v2 LOCAL and v2 over a Unix socket name nobody", () => {
  assert.deepEqual(parseProxyHeader(v2({ command: 0x20, family: 0, body: Buffer.alloc(0) })), {
    kind: "header",
    length: 16,
    source: null,
  });
  const unix = parseProxyHeader(v2({ family: 0x31, body: Buffer.alloc(216) }));
  assert.equal(unix.kind === "header" && unix.source, null);
});

test("v2 skips TLVs that fill the header exactly", () => {
  const tlv = Buffer.from([0x02, 0x00, 0x03, 0x61, 0x2e, 0x62]);
  const body = Buffer.concat([v2({}).subarray(16), tlv]);
  assert.equal(parseProxyHeader(v2({ body })).kind, "header");
});

test("believes a v2 checksum, and refuses a header that does not fit it", () => {
  const addresses = v2({}).subarray(16);
  const tlv = Buffer.from([0x03, 0x00, 0x04, 0, 0, 0, 0]);
  const header = v2({ body: Buffer.concat([addresses, tlv, Buffer.from([0x04, 0, 1, 0])]) });
  const at = 16 + addresses.length + 3;
  header.writeUInt32BE(crc32c(header), at);
  assert.equal(parseProxyHeader(header).kind, "header");
  for (let i = 16; i < 16 + addresses.length; i++) {
    const changed = Buffer.from(header);
    changed[i]! ^= 1;
    const parsed = parseProxyHeader(changed);
    assert.equal(
      parsed.kind === "bad" ? parsed.why : "",
      "the v2 checksum does not fit the header",
    );
  }
  const short = v2({ body: Buffer.concat([addresses, Buffer.from([0x03, 0, 2, 0, 0])]) });
  assert.equal(parseProxyHeader(short).kind, "bad");
});

test("the checksum is the one of RFC 3720 appendix B.4", () => {
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  assert.equal(crc32c(Buffer.from("123456789")), 0xe3069283);
  assert.equal(crc32c(Buffer.alloc(32, 0xff), 0, 32), 0x8a9136aa);
});

test("says what is wrong with a hostile header", () => {
  const cases: [string, Buffer, RegExp][] = [
    ["no header", latin1("GET / HTTP/1.1\r\n\r\n"), /does not start/],
    ["another word", latin1("PROXX TCP4 1.1.1.1 1.1.1.1 1 1\r\n"), /does not start/],
    ["a bare LF", latin1("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n"), /CRLF/],
    ["an endless line", latin1(`PROXY TCP4 ${"1".repeat(200)}`), /107/],
    ["two spaces", latin1("PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n"), /two addresses/],
    ["a lower-case protocol", latin1("PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n"), /TCP4 or TCP6/],
    ["an IPv6 address as TCP4", latin1("PROXY TCP4 ::1 2.2.2.2 1 2\r\n"), /not TCP4 addresses/],
    ["an octal address", latin1("PROXY TCP4 010.1.1.1 2.2.2.2 1 2\r\n"), /not TCP4 addresses/],
    ["a port above 65535", latin1("PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n"), /port/],
    ["a signed port", latin1("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n"), /port/],
    ["a port with a leading zero", latin1("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n"), /port/],
    ["six words", latin1("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"), /two addresses/],
    ["version 1 in binary", v2({ command: 0x11 }), /version is 1/],
    ["an unknown command", v2({ command: 0x22 }), /command is 2/],
    ["an unknown family", v2({ family: 0x41 }), /family/],
    ["an unknown transport", v2({ family: 0x13 }), /family or transport/],
    ["a size below the addresses", v2({ body: Buffer.alloc(11) }), /fewer/],
    ["a size above the limit", v2({ size: 65_535 }), /more than 4096/],
    [
      "a TLV cut off",
      v2({ body: Buffer.concat([v2({}).subarray(16), Buffer.from([1, 0])]) }),
      /cut off/,
    ],
    [
      "a TLV beyond the end",
      v2({ body: Buffer.concat([v2({}).subarray(16), Buffer.from([1, 0, 9, 0])]) }),
      /longer/,
    ],
    ["half a signature, then text", latin1("\r\n\r\n\0GET"), /does not start/],
  ];
  for (const [what, bytes, why] of cases) {
    const parsed = parseProxyHeader(bytes);
    assert.equal(parsed.kind, "bad", what);
    assert.match(parsed.kind === "bad" ? parsed.why : "", why, what);
  }
});

test("asks for more at every cut of a valid header, and never reads past its end", () => {
  for (const header of [latin1("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), v2({})]) {
    for (let cut = 0; cut < header.length; cut++) {
      assert.equal(parseProxyHeader(header.subarray(0, cut)).kind, "more", `cut at ${cut}`);
    }
  }
});

test("no bytes make it throw", () => {
  const starts = fc.constantFrom(
    Buffer.alloc(0),
    latin1("PROXY "),
    latin1("PROXY TCP4 "),
    v2({}).subarray(0, 14),
  );
  fc.assert(
    fc.property(starts, fc.uint8Array({ maxLength: 300 }), (start, rest) => {
      parseProxyHeader(Buffer.concat([start, rest]));
    }),
  );
});
