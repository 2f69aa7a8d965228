/** A gRPC service of grpc-js that says what it offers by server reflection (grpc.reflection.v1). */

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import * as grpc from "@grpc/grpc-js";
import { method } from "../support/grpc.ts";
import { programPath } from "../support/programs.ts";

/** The service, as its callers learn it. */
const proto = `syntax = "proto3";
package test;
message Words { string text = 1; }
service Talk {
  rpc Unary (Words) returns (Words);
  rpc Upload (stream Words) returns (Words);
  rpc Download (Words) returns (stream Words);
  rpc Chat (stream Words) returns (stream Words);
}
`;

const serviceName = "test.Talk";

/** The descriptor of {@link proto}, compiled by grpcurl: a FileDescriptorSet of one file. */
function compiled(): Buffer {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "weft-proto-"));
  try {
    fs.writeFileSync(path.join(folder, "talk.proto"), proto);
    const args = ["-import-path", folder, "-proto", "talk.proto"];
    const out = path.join(folder, "talk.protoset");
    execFileSync(programPath("grpcurl"), [...args, "-protoset-out", out, "describe", serviceName]);
    return fieldOf(fs.readFileSync(out), 1)!;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Starts it on a free loopback port; `pair` for TLS. */
export async function startTalk(pair?: {
  readonly cert: string;
  readonly key: string;
}): Promise<{ readonly port: number; stop(): void }> {
  const file = compiled();
  const server = new grpc.Server();
  server.addService(talk, {
    unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) =>
      fieldOf(call.request, 1)?.toString() === "fail"
        ? done({ code: grpc.status.ABORTED, details: "as it was asked to" })
        : done(null, call.request),
    upload: (call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      let all = "";
      call.on("data", (words: Buffer) => (all += fieldOf(words, 1)?.toString() ?? ""));
      call.on("end", () => done(null, field(1, all)));
    },
    download: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
      const text = fieldOf(call.request, 1)?.toString() ?? "";
      for (const word of text.split(" ")) call.write(field(1, word));
      call.end();
    },
    chat: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on("data", (words: Buffer) => call.write(words));
      call.on("end", () => call.end());
    },
  });
  server.addService(reflection, {
    info: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on("data", (asked: Buffer) => call.write(reflected(asked, file)));
      call.on("end", () => call.end());
    },
  });
  const credentials =
    pair === undefined
      ? grpc.ServerCredentials.createInsecure()
      : grpc.ServerCredentials.createSsl(null, [
          { cert_chain: Buffer.from(pair.cert), private_key: Buffer.from(pair.key) },
        ]);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { port, stop: () => server.forceShutdown() };
}

/** ServerReflectionRequest to ServerReflectionResponse: the list of services, or the one file there is. */
function reflected(asked: Buffer, file: Buffer): Buffer {
  if (fieldOf(asked, 7) !== null) return field(6, field(1, field(1, serviceName)));
  return field(4, field(1, file));
}

const talk = {
  unary: method("/test.Talk/Unary", false, false),
  upload: method("/test.Talk/Upload", true, false),
  download: method("/test.Talk/Download", false, true),
  chat: method("/test.Talk/Chat", true, true),
};

const reflection = {
  info: method("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true, true),
};

// === as much of protobuf as that takes: fields of bytes ===

function field(number: number, value: string | Buffer): Buffer {
  const content = Buffer.from(value as string);
  const length: number[] = [];
  let rest = content.length;
  for (; rest > 127; rest >>>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length, rest]), content]);
}

/** The last field of that number; null when there is none. Fields of other kinds than bytes are not expected. */
function fieldOf(message: Buffer, number: number): Buffer | null {
  let found: Buffer | null = null;
  for (let at = 0; at < message.length;) {
    const tag = message[at++]!;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++]!;
      length |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    if (tag >>> 3 === number) found = message.subarray(at, at + length);
    at += length;
  }
  return found;
}
