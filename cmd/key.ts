/** `weft key create`: makes an API key that scanners for leaked secrets recognise, and the line that configures it. */

import { createHash, randomBytes } from "node:crypto";
import { checksum } from "../plugins/key-format.ts";
import type { Arguments } from "./command.ts";
import { CommandError, exitCodes } from "./exit.ts";

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** A new key: `<prefix>_<32 random characters>_<checksum>`; 190 bits of randomness. */
export function createKey(prefix: string): string {
  const secret = randomText(32);
  return `${prefix}_${secret}_${checksum(`${prefix}_${secret}`)}`;
}

/** What stands in the configuration for a key. */
export function keyHash(key: string): string {
  return `sha256:${createHash("sha256").update(key).digest("hex")}`;
}

export async function keyCreate(args: Arguments): Promise<number> {
  const consumer = args.value("consumer");
  if (consumer === undefined) {
    throw new CommandError(exitCodes.usage, "weft key create: --consumer NAME is missing");
  }
  const prefix = args.value("prefix") ?? "weft";
  if (!/^[A-Za-z][A-Za-z0-9-]{0,31}$/.test(prefix)) {
    throw new CommandError(
      exitCodes.usage,
      `--prefix ${prefix}: expected a letter, then letters, digits or "-", at most 32`,
    );
  }
  const key = createKey(prefix);
  const hash = keyHash(key);
  if (args.has("json")) {
    process.stdout.write(`${JSON.stringify({ consumer, key, hash })}\n`);
    return exitCodes.ok;
  }
  process.stdout.write(
    `${key}\n\n` +
      "The key is shown this once. The configuration holds its hash:\n\n" +
      `consumers:\n  - { name: ${JSON.stringify(consumer)}, keys: ["${hash}"] }\n`,
  );
  return exitCodes.ok;
}

function randomText(length: number): string {
  let text = "";
  while (text.length < length) {
    // bytes of 248 and above are thrown away: 248 = 4 x 62, so that no character is likelier than another
    for (const byte of randomBytes(length)) {
      if (byte < 248 && text.length < length) text += alphabet[byte % 62]!;
    }
  }
  return text;
}
