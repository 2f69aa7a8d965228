/** grpcurl through weft: what a service offers by reflection, and one call of each kind. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { after, before, describe, test } from "node:test";
import { signed, testAuthority } from "../support/certificates.ts";
import { Gateway } from "../support/gateway.ts";
import { missingPrograms, programPath } from "../support/programs.ts";
import { startTalk } from "./reflecting-server.ts";

const run = promisify(execFile);

describe("grpcurl", { skip: missingPrograms("grpcurl") }, () => {
  let gateway: Gateway;
  let servers: Awaited<ReturnType<typeof startTalk>>[] = [];
  before(async () => {
    const authority = await testAuthority();
    const pair = await signed(authority, { dns: ["clear.test", "secure.test", "server.test"] });
    servers = [await startTalk(), await startTalk(pair)];
    gateway = await Gateway.start({
      ports: 2,
      files: { "test.crt": pair.cert, "test.key": pair.key, "ca.crt": authority.cert },
      config: ({ port, admin }) => `
admin: { address: "127.0.0.1:${admin}" }
gateway:
  listeners:
    - { name: clear, port: ${port[0]} }
    - { name: secure, port: ${port[1]}, tls: { certificates: [{ cert: test.crt, key: test.key }] } }
services:
  clear: { endpoints: ["127.0.0.1:${servers[0]!.port}"], protocol: http2 }
  secure:
    endpoints: ["127.0.0.1:${servers[1]!.port}"]
    protocol: http2
    tls: { ca: ca.crt, serverName: server.test }
routes:
  - { name: clear, hosts: [clear.test], to: clear }
  - { name: secure, hosts: [secure.test], to: secure }
`,
    });
  });
  after(async () => {
    await gateway?.[Symbol.asyncDispose]();
    for (const server of servers) server.stop();
  });

  for (const caller of ["in the clear", "over TLS"] as const) {
    for (const [server, authority] of [
      ["in the clear", "clear.test"],
      ["over TLS", "secure.test"],
    ] as const) {
      /** What it printed; `input` are the messages to send, for a call. */
      const grpcurl = (what: readonly string[], input?: readonly object[]): Promise<string> => {
        const isSecure = caller === "over TLS";
        const args = [
          ...(isSecure
            ? ["-cacert", `${gateway.folder}/ca.crt`, "-servername", authority]
            : ["-plaintext"]),
          "-authority",
          authority,
          ...(input === undefined ? [] : ["-d", input.map((one) => JSON.stringify(one)).join("")]),
          `127.0.0.1:${gateway.ports[isSecure ? 1 : 0]}`,
        ];
        return run(programPath("grpcurl"), [...args, ...what], { timeout: 60_000 }).then(
          ({ stdout }) => stdout,
        );
      };
      const texts = (out: string): string[] =>
        [...out.matchAll(/"text": "([^"]*)"/g)].map((match) => match[1]!);

      describe(`called ${caller}, served ${server}`, () => {
        test("lists and describes what the service offers", async () => {
          assert.equal(await grpcurl(["list"]), "test.Talk\n");
          const described = await grpcurl(["describe", "test.Talk"]);
          assert.match(described, /rpc Chat \( stream \.test\.Words \) returns/);
        });

        test("a unary call", async () => {
          const out = await grpcurl(["test.Talk/Unary"], [{ text: "hello" }]);
          assert.deepEqual(texts(out), ["hello"]);
        });

        test("a call that fails, with its code and message", async () => {
          await assert.rejects(
            grpcurl(["test.Talk/Unary"], [{ text: "fail" }]),
            /Code: Aborted\s+Message: as it was asked to/,
          );
        });

        test("a stream of requests", async () => {
          const out = await grpcurl(["test.Talk/Upload"], [{ text: "one" }, { text: "two" }]);
          assert.deepEqual(texts(out), ["onetwo"]);
        });

        test("a stream of answers", async () => {
          const out = await grpcurl(["test.Talk/Download"], [{ text: "one two three" }]);
          assert.deepEqual(texts(out), ["one", "two", "three"]);
        });

        test("streams both ways", async () => {
          const out = await grpcurl(["test.Talk/Chat"], [{ text: "one" }, { text: "two" }]);
          assert.deepEqual(texts(out), ["one", "two"]);
        });

        test("streams both ways with nothing in them", async () => {
          assert.deepEqual(texts(await grpcurl(["test.Talk/Chat"], [])), []);
        });
      });
    }
  }

  test("a method that no route takes is unimplemented", async () => {
    const to = `127.0.0.1:${gateway.port}`;
    const args = ["-plaintext", "-authority", "nowhere.test", to, "list"];
    await assert.rejects(run(programPath("grpcurl"), args), /does not support the reflection API/);
  });
});
