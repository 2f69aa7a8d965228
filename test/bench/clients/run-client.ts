/** Runs one of the clients of this folder on the other core and reads its one line of JSON. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { otherCore, pin } from "../process.ts";

/**
 * @param name the script, without `.ts`
 * @param onLine called with whatever the client writes on standard error, as it comes
 * @throws what the client wrote when it fails
 */
export async function runClient<T>(
  name: string,
  options: object,
  onLine: (text: string) => void = () => {},
): Promise<T> {
  const script = path.join(import.meta.dirname, `${name}.ts`);
  const command = pin(otherCore, [process.execPath, script, JSON.stringify(options)]);
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
    onLine(chunk.toString());
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${errors}${output}`);
  return JSON.parse(output) as T;
}

/** The value below which a share of the sorted values lies; NaN for none. */
export function percentile(sorted: readonly number[], share: number): number {
  const at = Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1);
  return sorted[Math.max(0, at)] ?? Number.NaN;
}
