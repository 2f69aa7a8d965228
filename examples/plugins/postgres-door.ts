/** Lets only known users of Postgres in, by the first message of their connections, and counts bytes by user. */

import { defineTcpPlugin, reject, slot } from "weft/plugin";
import { z } from "zod";

const User = slot<string>("postgres-user");

/** Protocol 3.0: length, version, then pairs of texts that each end in a zero byte. */
function userOf(first: Uint8Array): string | null {
  const bytes = Buffer.from(first.buffer, first.byteOffset, first.length);
  if (bytes.length < 9 || bytes.readUInt32BE(4) !== 196_608) return null;
  const words = bytes.toString("utf8", 8).split("\0");
  const at = words.indexOf("user");
  return at === -1 ? null : (words[at + 1] ?? null);
}

export default defineTcpPlugin({
  name: "postgres-door",
  stage: "authn",
  config: z.strictObject({ users: z.array(z.string()).min(1) }),
  peek: { bytes: 512 },
  setup({ users }, host) {
    const bytes = host.counter("postgres_bytes", ["user"]);
    return {
      peek(first, conn) {
        const user = userOf(first);
        if (user === null || !users.includes(user)) return reject(`no user ${user ?? "at all"}`);
        conn.set(User, user);
        return undefined;
      },
      done(info, conn) {
        const user = conn.get(User);
        if (user !== undefined) bytes.inc([user], info.requestBytes + info.responseBytes);
      },
    };
  },
});
