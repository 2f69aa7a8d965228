/** A real gRPC service and its callers, by grpc-js, with messages of plain bytes. */

import * as grpc from "@grpc/grpc-js";

const bytes = (value: Buffer): Buffer => value;

/** A method whose messages are plain bytes. */
export function method(path: string, requestStream: boolean, responseStream: boolean) {
  return {
    path,
    requestStream,
    responseStream,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  };
}

/** One method of each kind. */
export const echoService = {
  unary: method("/test.Echo/Unary", false, false),
  upload: method("/test.Echo/Upload", true, false),
  download: method("/test.Echo/Download", false, true),
  chat: method("/test.Echo/Chat", true, true),
};

export type EchoHandlers = {
  unary: grpc.handleUnaryCall<Buffer, Buffer>;
  upload: grpc.handleClientStreamingCall<Buffer, Buffer>;
  download: grpc.handleServerStreamingCall<Buffer, Buffer>;
  chat: grpc.handleBidiStreamingCall<Buffer, Buffer>;
};

/** A server on a free loopback port; what a test leaves out says what it got. */
export class EchoServer {
  readonly port: number;
  /** Calls that began, in order. */
  readonly calls: string[] = [];
  /** Metadata of the calls, in order. */
  readonly metadata: grpc.Metadata[] = [];
  private readonly server: grpc.Server;

  private constructor(server: grpc.Server, port: number) {
    this.server = server;
    this.port = port;
  }

  static async start(handlers: Partial<EchoHandlers> = {}): Promise<EchoServer> {
    const server = new grpc.Server();
    const all: EchoHandlers = {
      unary: (call, done) => done(null, call.request),
      upload: (call, done) => {
        let total = 0;
        call.on("data", (message: Buffer) => (total += message.length));
        call.on("end", () => done(null, Buffer.from(String(total))));
      },
      download: (call) => {
        const count = Number(call.request.toString());
        for (let i = 0; i < count; i++) call.write(Buffer.from(`message ${i}`));
        call.end();
      },
      chat: (call) => {
        call.on("data", (message: Buffer) => call.write(message));
        call.on("end", () => call.end());
      },
      ...handlers,
    };
    let made: EchoServer | null = null;
    const noted = <C extends { metadata: grpc.Metadata; getPath(): string }, A extends unknown[]>(
      handler: (call: C, ...rest: A) => void,
    ) => {
      return (call: C, ...rest: A): void => {
        made!.calls.push(call.getPath());
        made!.metadata.push(call.metadata);
        handler(call, ...rest);
      };
    };
    server.addService(echoService, {
      unary: noted(all.unary),
      upload: noted(all.upload),
      download: noted(all.download),
      chat: noted(all.chat),
    } as unknown as grpc.UntypedServiceImplementation);
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    );
    made = new EchoServer(server, port);
    return made;
  }

  stop(): void {
    this.server.forceShutdown();
  }
}

/** What a call came to. */
export interface Outcome {
  readonly code: number;
  readonly details: string;
  readonly messages: readonly string[];
  readonly trailers: grpc.Metadata;
}

export interface CallOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly deadlineMs?: number;
}

/** Calls through a gateway, under a host that chooses the route. */
export class EchoCaller {
  readonly client: grpc.Client;

  constructor(port: number, host: string) {
    this.client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
      "grpc.default_authority": host,
      "grpc.enable_retries": 0,
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  unary(message: string, options: CallOptions = {}): Promise<Outcome> {
    return new Promise((resolve) => {
      let trailers = new grpc.Metadata();
      const call = this.client.makeUnaryRequest(
        echoService.unary.path,
        bytes,
        bytes,
        Buffer.from(message),
        toMetadata(options),
        toOptions(options),
        (error, answer) => {
          const messages = answer === undefined ? [] : [answer.toString()];
          const { code = 0, details = "" } = error ?? {};
          setImmediate(() => resolve({ code, details, messages, trailers }));
        },
      );
      call.on("status", (status) => (trailers = status.metadata));
    });
  }

  chat(options: CallOptions = {}): grpc.ClientDuplexStream<Buffer, Buffer> {
    return this.client.makeBidiStreamRequest(
      echoService.chat.path,
      bytes,
      bytes,
      toMetadata(options),
      toOptions(options),
    );
  }

  download(message: string, options: CallOptions = {}): grpc.ClientReadableStream<Buffer> {
    return this.client.makeServerStreamRequest(
      echoService.download.path,
      bytes,
      bytes,
      Buffer.from(message),
      toMetadata(options),
      toOptions(options),
    );
  }

  upload(messages: readonly Buffer[], options: CallOptions = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      const call = this.client.makeClientStreamRequest(
        echoService.upload.path,
        bytes,
        bytes,
        toMetadata(options),
        toOptions(options),
        (error, answer) => (error === null ? resolve(answer!.toString()) : reject(error)),
      );
      for (const message of messages) call.write(message);
      call.end();
    });
  }

  close(): void {
    this.client.close();
  }
}

function toMetadata({ metadata = {} }: CallOptions): grpc.Metadata {
  const made = new grpc.Metadata();
  for (const [name, value] of Object.entries(metadata)) made.set(name, value);
  return made;
}

function toOptions({ deadlineMs }: CallOptions): grpc.CallOptions {
  return deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
}

/** Everything that a stream brings, and how it ends. */
export function collect(
  call: grpc.ClientReadableStream<Buffer> | grpc.ClientDuplexStream<Buffer, Buffer>,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const messages: string[] = [];
    call.on("data", (message: Buffer) => messages.push(message.toString()));
    call.on("error", () => {});
    call.on("status", ({ code, details, metadata }: grpc.StatusObject) =>
      resolve({ code, details, messages, trailers: metadata }),
    );
  });
}
