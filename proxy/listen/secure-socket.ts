/** The server side of TLS over an accepted socket: the only place that knows how Node's TLS sockets are built. */

import type net from "node:net";
import tls from "node:tls";
import type { ServerTlsOptions } from "./tls.ts";
import { Transport } from "./transport.ts";

/** Parts of Node's TLSSocket that `tls.Server` uses too, and that have no public name. */
interface TlsInternals {
  connecting: boolean;
  readonly _handle: { receive(bytes: Buffer): void } | null;
  readonly ssl: { verifyError(): { readonly code: string } | null };
  _releaseControl(): boolean;
}

type Make = (onread: net.OnReadOpts) => tls.TLSSocket;

/**
 * Starts the handshake. `first` are bytes already read from `raw`, which nobody else may read from again.
 * `onSecure` gets OpenSSL's verdict on the client's certificate, whatever it is; failures arrive at `handler.onClose`.
 */
export function acceptTls(
  raw: net.Socket,
  first: Buffer,
  options: ServerTlsOptions,
  onSecure: (transport: Transport, socket: tls.TLSSocket, verifyError: string | null) => void,
): Transport {
  const make: Make = (onread) => new AcceptedTlsSocket(raw, options, onread);
  const transport = Transport.reading(make);
  const socket = transport.socket as tls.TLSSocket;
  const inner = socket as unknown as TlsInternals;
  raw.on("error", (error) => socket.destroy(error));
  socket.on("secure", () => {
    const verifyError = inner.ssl.verifyError()?.code ?? null;
    inner._releaseControl();
    onSecure(transport, socket, verifyError);
  });
  // after the socket's own start of reading, which it puts off to the next tick
  process.nextTick(() => inner._handle?.receive(first));
  return transport;
}

/**
 * A TLSSocket over an accepted socket that reads into the shared buffer. Node offers `onread` only to sockets that it
 * connects itself; handing the accepted handle over where it would make a new one is the same to all layers below.
 */
class AcceptedTlsSocket extends tls.TLSSocket {
  constructor(raw: net.Socket, options: ServerTlsOptions, onread: net.OnReadOpts) {
    const all = { ...options, isServer: true, allowHalfOpen: true, onread, raw };
    super(undefined as unknown as net.Socket, all as unknown as tls.TLSSocketOptions);
    (this as unknown as TlsInternals).connecting = false;
  }

  /** Called by the constructor of TLSSocket. */
  _wrapHandle(): unknown {
    const { raw } = (this as unknown as { _tlsOptions: { raw: { _handle: unknown } } })._tlsOptions;
    const wrap = (
      tls.TLSSocket.prototype as unknown as { _wrapHandle: (...parts: unknown[]) => unknown }
    )._wrapHandle;
    return wrap.call(this, raw, raw._handle, false);
  }
}
