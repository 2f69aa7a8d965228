/** What the demo prints once it is ready: where everything is, and what to try. */

/** One screen of text, at most 80 columns wide. */
export function demoScreen(port: number, adminPort: number): string {
  const at = `http://127.0.0.1:${port}`;
  const key = "-H 'x-api-key: demo-key'";
  const tries: readonly (readonly [string, string])[] = [
    [`curl ${at}/`, "web asks orders and payments"],
    [`curl -i ${at}/orders`, "401: who are you?"],
    [`curl ${at}/orders ${key}`, "200, with the caller's identity"],
    [`curl -i ${at}/admin ${key}`, "403: not in that group"],
    [`curl -i ${at}/limited`, "429 from the sixth on"],
    [`curl -i ${at}/forbidden`, "403 by the mesh, and its rule"],
    [`curl -X POST ${at}/chaos/kill`, "ends one orders; nothing fails"],
  ];
  return [
    "",
    "  weft demo is ready",
    "",
    `    gateway    ${at}`,
    `    dashboard  http://127.0.0.1:${adminPort}`,
    "",
    "    you -> gateway -> sidecar -> web -> sidecar -> orders (twice), payments",
    "    Every hop behind the gateway is mTLS between verified names.",
    "",
    "  Try, in another terminal:",
    "",
    ...tries.flatMap(([command, what]) => [`    # ${what}`, `    ${command}`]),
    "",
    "  Ctrl-C ends everything.",
    "",
    "",
  ].join("\n");
}
