/** Finds out that a TLS socket will never write what it was given. */

import type net from "node:net";

/** The handle of a TLS socket stands on that of the TCP connection. */
interface SecureHandleOwner {
  readonly _handle: { readonly _parent?: { readonly writeQueueSize?: number } } | null;
}

/** How long bytes may stay in Node without the system having any of them. Milliseconds. */
const LOST_MS = 100;

const watched = new WeakSet<net.Socket>();

/**
 * To be called when the other side of a connection has ended, and whenever something is written after that; does nothing
 * on a plain socket. Node forgets a write to a TLS socket that was reset in the meantime: neither callback nor error, and
 * the reset is read as an end, so that nothing would ever close the connection. What is still unwritten while the system
 * has nothing left to send is lost: the socket is destroyed with ECONNRESET.
 */
export function lookForLoss(socket: net.Socket): void {
  if (!("encrypted" in socket) || watched.has(socket)) return;
  watched.add(socket);
  setTimeout(() => {
    watched.delete(socket);
    const isPending =
      socket.writableLength > 0 || (socket.writableEnded && !socket.writableFinished);
    if (socket.destroyed || !isPending) return;
    const queued = (socket as unknown as SecureHandleOwner)._handle?._parent?.writeQueueSize;
    if (queued !== 0) return lookForLoss(socket);
    socket.destroy(Object.assign(new Error("the connection was reset"), { code: "ECONNRESET" }));
  }, LOST_MS).unref();
}
