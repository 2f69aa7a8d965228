/** Everything that is fuzzed. `npm test` runs a slice of each, `npm run fuzz` goes on for as long as it is told to. */

import { mangledIsAnswered } from "../control/mangled.ts";
import { routersAgree } from "../proxy/route-tables.ts";
import { codecProperties } from "./codec-properties.ts";
import { hpackProperties } from "./hpack-properties.ts";
import { http2Properties } from "./http2-properties.ts";
import type { FuzzProperty } from "./property.ts";

export const properties: readonly FuzzProperty[] = [
  ...codecProperties,
  ...http2Properties,
  ...hpackProperties,
  { name: "a small routing table is the slow one", runs: 1000, property: routersAgree(6) },
  { name: "a large routing table is the slow one", runs: 150, property: routersAgree(60) },
  { name: "a damaged configuration is answered", runs: 300, property: mangledIsAnswered },
];
