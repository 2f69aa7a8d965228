/** An origin that takes every upgrade to WebSocket and answers each message with one of its length: `node web-socket.ts PORT...`. */

import crypto from "node:crypto";
import net from "node:net";
import { cutMessages, serverMessage, webSocketGuid } from "../clients/web-socket-frames.ts";

const keyLine = /^sec-websocket-key: *(\S+)/im;

function serve(socket: net.Socket): void {
  let head = "";
  let rest: Buffer = Buffer.alloc(0);
  let isOpen = false;
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: Buffer) => {
    let bytes = chunk;
    if (!isOpen) {
      head += chunk.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end === -1) return;
      const key = keyLine.exec(head)?.[1];
      if (key === undefined) {
        socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
      }
      const accept = crypto
        .createHash("sha1")
        .update(key + webSocketGuid)
        .digest("base64");
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
      );
      isOpen = true;
      bytes = Buffer.from(head.slice(end + 4), "latin1");
    }
    const out: Buffer[] = [];
    rest = cutMessages(rest.length === 0 ? bytes : Buffer.concat([rest, bytes]), (length) =>
      out.push(serverMessage(length)),
    );
    if (out.length > 0) socket.write(out.length === 1 ? out[0]! : Buffer.concat(out));
  });
}

for (const port of process.argv.slice(2))
  net.createServer({ noDelay: true }, serve).listen(Number(port), "127.0.0.1");
