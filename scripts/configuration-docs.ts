/** `node scripts/configuration-docs.ts` writes docs/configuration.md from the schema; a test says when it has to run. */

import { writeFile } from "node:fs/promises";
import { jsonSchema } from "../control/json-schema.ts";
import { configurationPage } from "../control/reference.ts";

await writeFile(
  new URL("../docs/configuration.md", import.meta.url),
  configurationPage(jsonSchema()),
);
