/** Sets, adds and removes fields of requests and answers. */

import { z } from "zod";
import { definePlugin } from "../proxy/pipeline/plugin.ts";
import { fieldValueOption, writableNameOption } from "./options.ts";
import type { Fields, FieldName } from "../proxy/http/fields.ts";
import type { Hooks, Host } from "../proxy/pipeline/plugin.ts";

const values = z.record(
  writableNameOption(),
  z.union([fieldValueOption(), z.number().transform(String), z.boolean().transform(String)]),
);
const edits = z.strictObject({
  set: values.default({}),
  add: values.default({}),
  remove: z.array(writableNameOption()).default([]),
});
const none = { set: {}, add: {}, remove: [] };

type Edits = z.output<typeof edits>;

export default definePlugin({
  name: "headers",
  stage: "transform",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  config: z.strictObject({ request: edits.default(none), response: edits.default(none) }),
  setup(config, host) {
    const editRequest = toEditor(config.request, host);
    const editResponse = toEditor(config.response, host);
    const hooks: Hooks = {};
    if (editRequest !== null) hooks.request = (req) => editRequest(req.headers);
    if (editResponse !== null) hooks.response = (res) => editResponse(res.headers);
    return hooks;
  },
});

/** Null when there is nothing to do: no hook, no cost. Removes first, then sets, then adds. */
function toEditor(config: Edits, host: Host): ((headers: Fields) => undefined) | null {
  const remove = config.remove.map((name) => host.header(name));
  const set = Object.entries(config.set).map(([name, value]): [FieldName, string] => [
    host.header(name),
    value,
  ]);
  const add = Object.entries(config.add).map(([name, value]): [FieldName, string] => [
    host.header(name),
    value,
  ]);
  if (remove.length + set.length + add.length === 0) return null;
  return (headers) => {
    for (const name of remove) headers.delete(name);
    for (const [name, value] of set) headers.set(name, value);
    for (const [name, value] of add) headers.append(name, value);
    return undefined;
  };
}
