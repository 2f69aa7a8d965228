/** Callers of HTTP/2 in daily use: curl, nghttp, h2load; in the clear and over TLS, to services of either protocol. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { promisify } from "node:util";
import { after, before, describe, test } from "node:test";
import { once } from "node:events";
import { signed, testAuthority } from "../support/certificates.ts";
import { Gateway } from "../support/gateway.ts";
import { missingPrograms, programPath } from "../support/programs.ts";

const run = promisify(execFile);
const settings = { timeout: 60_000, maxBuffer: 64 * 1024 * 1024 };

/** An npm test on Debian installs them; elsewhere the tests say what is missing. */
const missing = (name: string): { readonly skip: string | false } => ({
  skip: process.env["CI"] === "true" ? false : missingPrograms(name),
});

/** Says everything back: the body with its trailers, whatever the protocol. */
function echo(
  req: http.IncomingMessage | http2.Http2ServerRequest,
  res: http.ServerResponse | http2.Http2ServerResponse,
): void {
  const answer = res as http.ServerResponse;
  answer.setHeader("x-method", req.method ?? "");
  req.pipe(answer);
}

let gateway: Gateway;
let h1: http.Server;
let h2: http2.Http2Server;
before(async () => {
  h1 = http.createServer(echo);
  h2 = http2.createServer(echo);
  for (const server of [h1, h2]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  const port = (server: http.Server | http2.Http2Server): number =>
    (server.address() as AddressInfo).port;
  const authority = await testAuthority();
  const pair = await signed(authority, { dns: ["h1.test", "h2.test"] });
  gateway = await Gateway.start({
    ports: 2,
    files: { "test.crt": pair.cert, "test.key": pair.key, "ca.crt": authority.cert },
    config: ({ port: free, admin }) => `
admin: { address: "127.0.0.1:${admin}" }
gateway:
  listeners:
    - { name: clear, port: ${free[0]} }
    - { name: secure, port: ${free[1]}, tls: { certificates: [{ cert: test.crt, key: test.key }] } }
services:
  h1: { endpoints: ["127.0.0.1:${port(h1)}"] }
  h2: { endpoints: ["127.0.0.1:${port(h2)}"], protocol: http2 }
routes:
  - { name: h1, hosts: [h1.test], to: h1 }
  - { name: h2, hosts: [h2.test], to: h2 }
`,
  });
});
after(async () => {
  await gateway?.[Symbol.asyncDispose]();
  h1?.close();
  h2?.close();
});

const ways = ["in the clear", "over TLS"] as const;
const services = ["h1", "h2"] as const;
const large = randomBytes(2 * 1024 * 1024);

for (const way of ways) {
  for (const service of services) {
    const isSecure = way === "over TLS";
    const portOf = (): number => gateway.ports[isSecure ? 1 : 0]!;
    const urlOf = (): string => `${isSecure ? "https" : "http"}://${service}.test:${portOf()}/`;

    describe(`${way}, to a service of ${service}`, () => {
      const curl = async (...args: readonly string[]): Promise<string> => {
        const { stdout } = await run(
          programPath("curl"),
          [
            "-sS",
            ...(isSecure
              ? ["--http2", "--cacert", path.join(gateway.folder, "ca.crt")]
              : ["--http2-prior-knowledge"]),
            "--resolve",
            `${service}.test:${portOf()}:127.0.0.1`,
            ...args,
          ],
          settings,
        );
        return stdout;
      };

      test("curl, with a body", missing("curl"), async () => {
        const out = await curl("-d", "hello", "-w", " %{http_version} %{http_code}", urlOf());
        assert.equal(out, "hello 2 200");
      });

      test("curl, with 2 MiB up and down", missing("curl"), async () => {
        const file = path.join(gateway.folder, `large-${isSecure}-${service}`);
        fs.writeFileSync(file, large);
        const args = ["--data-binary", `@${file}`, "-o", `${file}.out`, "-w", "%{http_version}"];
        assert.equal(await curl(...args, urlOf()), "2");
        assert.ok(fs.readFileSync(`${file}.out`).equals(large));
      });

      test("curl, HEAD and several requests on one connection", missing("curl"), async () => {
        const line = "%{http_version} %{num_connects} %{method}\n";
        const heads = await curl("-I", "-o", "/dev/null", "-w", line, urlOf());
        assert.equal(heads, "2 1 HEAD\n");
        // curl 7.88 cannot use a connection of prior knowledge twice, whoever serves it
        if (!isSecure) return;
        const out = await curl("-w", line, urlOf(), urlOf(), urlOf());
        assert.equal(out, "2 1 GET\n2 0 GET\n2 0 GET\n");
      });

      test("nghttp, with its priorities of old", missing("nghttp"), async () => {
        const to = `${isSecure ? "https" : "http"}://127.0.0.1:${portOf()}/`;
        const { stdout } = await run(
          programPath("nghttp"),
          ["-nv", "-m", "5", "-H", `:authority: ${service}.test`, to],
          settings,
        );
        assert.equal(stdout.match(/:status: 200/g)?.length, 5);
        assert.doesNotMatch(stdout, /RST_STREAM|PROTOCOL_ERROR/);
      });

      test("nghttp, with a body, trailers and a small window", missing("nghttp"), async () => {
        const file = path.join(gateway.folder, `nghttp-${isSecure}-${service}`);
        fs.writeFileSync(file, large);
        const to = `${isSecure ? "https" : "http"}://127.0.0.1:${portOf()}/`;
        const { stdout } = await run(
          programPath("nghttp"),
          ["-w", "14", "-W", "15", "-d", file, "--trailer", "x-sum: 1"].concat([
            "-H",
            `:authority: ${service}.test`,
            to,
          ]),
          { ...settings, encoding: "buffer" },
        );
        assert.ok(stdout.equals(large));
      });

      for (const [name, args] of [
        ["GETs", []],
        ["POSTs of 64 KiB", ["-d"]],
      ] as const) {
        test(`h2load: every one of many ${name} succeeds`, missing("h2load"), async () => {
          const file = path.join(gateway.folder, `h2load-${isSecure}-${service}`);
          fs.writeFileSync(file, large.subarray(0, 65_536));
          const count = args.length === 0 ? 4000 : 400;
          const { stdout } = await run(
            programPath("h2load"),
            [
              `-n${count}`,
              "-c8",
              "-m32",
              ...args.flatMap((arg) => [arg, file]),
              "-H",
              `:authority: ${service}.test`,
              `${isSecure ? "https" : "http"}://127.0.0.1:${portOf()}/`,
            ],
            settings,
          );
          assert.match(stdout, new RegExp(`${count} succeeded, 0 failed, 0 errored, 0 timeout`));
          assert.match(stdout, new RegExp(`status codes: ${count} 2xx`));
        });
      }
    });
  }
}

test("nothing was a violation of HTTP/2", async () => {
  assert.equal(await gateway.metric("weft_protocol_errors_total"), 0);
  assert.doesNotMatch(gateway.stderr, /internal error/);
});
