/** `weft cert` on the command line: files, words, exit codes. */

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { weft } from "./cli.ts";

let cwd: string;

before(() => {
  cwd = mkdtempSync(path.join(tmpdir(), "weft-cert-"));
});
after(() => rmSync(cwd, { recursive: true, force: true }));

describe("weft cert", () => {
  it("makes an authority and a certificate, and says where they are", async () => {
    const ca = await weft(["cert", "ca", "--out", "ca", "--trust-domain", "corp.example"], { cwd });
    assert.equal(ca.code, 0, ca.stderr);
    assert.equal(ca.stdout, "ca/ca.crt\nca/ca.key\n");
    const issue = [
      "cert",
      "issue",
      "--service",
      "orders",
      "--ca",
      "ca",
      "--out",
      "certs",
      "--ttl",
      "2h",
    ];
    const issued = await weft(issue, { cwd });
    assert.equal(issued.code, 0, issued.stderr);
    assert.match(issued.stdout, /^certs\/orders\.crt\ncerts\/orders\.key\ncerts\/bundle\.crt\n/);
    assert.match(issued.stdout, /spiffe:\/\/corp\.example\/service\/orders, valid until /);
    for (const file of ["orders.crt", "orders.key", "bundle.crt"]) {
      assert.ok(existsSync(path.join(cwd, "certs", file)), file);
    }
    assert.equal(statSync(path.join(cwd, "certs/orders.key")).mode & 0o777, 0o600);
  });

  it("shows a certificate in words, and for machines", async () => {
    const words = await weft(["cert", "show", "certs/orders.crt"], { cwd });
    assert.equal(words.code, 0);
    assert.match(
      words.stdout,
      /^spiffe:\/\/corp\.example\/service\/orders\n {2}valid until .* \(1 hour left\)\n/,
    );
    assert.match(words.stdout, /signed by weft authority of corp\.example/);
    const json = await weft(["cert", "show", "certs/orders.crt", "--json"], { cwd });
    const [one] = JSON.parse(json.stdout) as [{ who: string; state: string }];
    assert.deepEqual([one.who, one.state], ["spiffe://corp.example/service/orders", "valid"]);
  });

  it("shows the certificates that a running weft uses", async () => {
    const view = {
      use: "listener secure",
      file: "/etc/api.crt",
      subject: "CN=api",
      names: ["api.example.com", "www.example.com"],
      issuer: "CN=Corp CA\nO=Corp",
      notBefore: "2020-01-01T00:00:00.000Z",
      notAfter: "2020-02-01T00:00:00.000Z",
      fingerprint: "00",
    };
    const broken = {
      use: "mesh identity",
      file: "/etc/x.crt",
      error: "there is no certificate in it",
    };
    const admin = http.createServer((_request, response) =>
      response.end(JSON.stringify([view, broken])),
    );
    admin.listen(0, "127.0.0.1");
    await once(admin, "listening");
    const address = `127.0.0.1:${(admin.address() as AddressInfo).port}`;
    const shown = await weft(["cert", "show", "--admin", address], { cwd });
    admin.close();
    assert.equal(shown.code, 0, shown.stderr);
    const lines = shown.stdout.split("\n");
    assert.deepEqual(lines.slice(0, 3), [
      "listener secure: /etc/api.crt",
      "  api.example.com",
      "    also www.example.com",
    ]);
    assert.match(lines[3]!, /^ {4}EXPIRED on 2020-02-01 00:00 UTC \(\d+ days ago\)$/);
    assert.deepEqual(lines.slice(4, 7), [
      "    signed by Corp CA",
      "mesh identity: /etc/x.crt",
      "  there is no certificate in it",
    ]);
  });

  it("ends with 1 for input that is wrong and 2 for wrong usage, in words on stderr", async () => {
    writeFileSync(path.join(cwd, "text.crt"), "hello");
    const cases: [string[], number, RegExp][] = [
      [["cert", "ca", "--out", "ca"], 1, /ca\.crt exists already/],
      [
        ["cert", "ca", "--out", "x", "--trust-domain", "No Domain"],
        1,
        /expected a lower-case name/,
      ],
      [["cert", "ca"], 2, /--out DIR is missing/],
      [
        ["cert", "issue", "--service", "a", "--ca", "none", "--out", "x"],
        1,
        /there is no such file/,
      ],
      [["cert", "issue", "--service", "../a", "--ca", "ca", "--out", "x"], 1, /expected letters/],
      [
        ["cert", "issue", "--service", "a", "--ca", "ca", "--out", "x", "--ttl", "soon"],
        2,
        /expected a duration/,
      ],
      [["cert", "issue", "--ca", "ca", "--out", "x"], 2, /--service NAME is missing/],
      [["cert", "show", "none.crt"], 1, /cannot read none\.crt/],
      [["cert", "show", "text.crt"], 1, /no PEM certificate/],
      [["cert", "show", "text.crt", "--admin", "x:1"], 2, /not both/],
      [["cert", "show", "--admin", "127.0.0.1:9"], 3, /no weft answers/],
    ];
    for (const [args, code, words] of cases) {
      const ended = await weft(args, { cwd });
      assert.equal(ended.code, code, `${args.join(" ")}: ${ended.stderr}`);
      assert.match(ended.stderr, words, args.join(" "));
      assert.equal(ended.stdout, "");
    }
  });
});
