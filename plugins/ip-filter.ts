/** Lets callers in, or keeps them out, by their address. */

import { BlockList, isIP } from "node:net";
import { z } from "zod";
import { definePlugin, problem, reject } from "../proxy/pipeline/plugin.ts";

/** An address or a block: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`. */
const cidr = z
  .string()
  .refine(isBlock, 'not an address or CIDR block such as "10.0.0.0/8" or "2001:db8::/32"');

export default definePlugin({
  name: "ip-filter",
  stage: "admit",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  protocols: ["http", "tcp"],
  config: z.strictObject({ allow: z.array(cidr).default([]), deny: z.array(cidr).default([]) }),
  setup({ allow, deny }, host) {
    if (allow.length + deny.length === 0) return {};
    const allowed = allow.length === 0 ? null : toList(allow);
    const denied = toList(deny);
    const refused = problem(
      "forbidden",
      403,
      `your address is not allowed here (plugin ${host.id})`,
    );
    const isAllowed = (address: string): boolean => {
      const family = isIP(address);
      if (family === 0) return false;
      const kind = family === 4 ? "ipv4" : "ipv6";
      if (denied.check(address, kind)) return false;
      return allowed === null || allowed.check(address, kind);
    };
    return {
      request: (_req, ctx) => (isAllowed(ctx.client.address) ? undefined : refused),
      tcp: {
        accept: ({ client }) =>
          isAllowed(client.address)
            ? undefined
            : reject(`${client.address} is not allowed here (plugin ${host.id})`),
      },
    };
  },
});

function isBlock(text: string): boolean {
  const [address, bits, rest] = text.split("/");
  const family = isIP(address!);
  if (family === 0 || rest !== undefined) return false;
  return (
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
  );
}

function toList(blocks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const block of blocks) {
    const [address, bits] = block.split("/");
    const kind = isIP(address!) === 4 ? "ipv4" : "ipv6";
    if (bits === undefined) list.addAddress(address!, kind);
    else list.addSubnet(address!, Number(bits), kind);
  }
  return list;
}
