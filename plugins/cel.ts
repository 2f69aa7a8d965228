/** Lets a request pass when an expression over it, its claims, its peer and its consumer holds. */

import { z } from "zod";
import { ExpressionError, compileExpression } from "../proxy/pipeline/expression.ts";
import { definePlugin, problem } from "../proxy/pipeline/plugin.ts";
import type { Expression } from "../proxy/pipeline/expression.ts";

const condition = z.string().transform((source, issues): Expression => {
  try {
    const expression = compileExpression(source);
    if (expression.type !== "bool" && expression.type !== "dyn")
      issues.addIssue(`the expression is ${expression.type}, not true or false`);
    return expression;
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    issues.addIssue(error.message);
    return z.NEVER;
  }
});

export default definePlugin({
  name: "cel",
  stage: "authz",
  modes: ["gateway", "mesh-outbound", "mesh-inbound"],
  config: z.strictObject({
    allow: condition,
    message: z.string().min(1).optional(),
  }),
  setup({ allow, message }, host) {
    const refused = problem(
      "forbidden",
      403,
      message ?? `a rule of this route does not allow this (plugin ${host.id})`,
    );
    return {
      request(req, ctx) {
        try {
          return allow.evaluate(req, ctx) === true ? undefined : refused;
        } catch (error) {
          // what cannot be worked out is not allowed: a claim that is no number, a list that is absent
          ctx.log.info("the rule could not be worked out", {
            plugin: host.id,
            reason: error instanceof Error ? error.message.split("\n")[0] : String(error),
          });
          return refused;
        }
      },
    };
  },
});
