/** Refuses programs by the User-Agent that they send: a fence against the careless, since anyone can send another. */

import { RE2JS } from "re2js";
import { z } from "zod";
import { definePlugin, problem } from "../proxy/pipeline/plugin.ts";

/** Tools that look for holes in sites. */
const scanners =
  "acunetix|arachni|burpcollaborator|commix|dirbuster|dirb/|feroxbuster|ffuf|fimap|gobuster|havij|masscan|nessus|netsparker|nikto|nmap|nuclei|openvas|paros|qualys|skipfish|sqlmap|sqlninja|w3af|wapiti|webshag|wfuzz|whatweb|wpscan|zgrab|zmeu";
/** Programs that copy sites: for search machines of no use to visitors, and to train models. */
const scrapers =
  "ahrefsbot|amazonbot|anthropic-ai|bytespider|ccbot|claudebot|cohere-ai|dataforseobot|diffbot|dotbot|gptbot|imagesiftbot|meta-externalagent|mj12bot|omgili|perplexitybot|petalbot|semrushbot|timpibot|youbot";

/** Texts whose verdict is remembered, and the longest that is looked at. */
const memoryMax = 2048;
const maxChars = 1024;

/** RE2: no text makes it slow; upper and lower case are the same. */
const pattern = z.string().transform((text, issues) => {
  try {
    return RE2JS.compile(text, RE2JS.CASE_INSENSITIVE);
  } catch (error) {
    issues.addIssue(`${JSON.stringify(text)}: ${error instanceof Error ? error.message : error}`);
    return z.NEVER;
  }
});

export default definePlugin({
  name: "bot",
  stage: "admit",
  modes: ["gateway", "mesh-inbound"],
  config: z.strictObject({
    scanners: z.boolean().default(true),
    scrapers: z.boolean().default(false),
    deny: z.array(pattern).default([]),
    allow: z.array(pattern).default([]),
    missing: z.enum(["allow", "reject"]).default("allow"),
  }),
  setup(options, host) {
    const { allow, missing } = options;
    const deny = [...options.deny];
    if (options.scanners) deny.push(RE2JS.compile(scanners, RE2JS.CASE_INSENSITIVE));
    if (options.scrapers) deny.push(RE2JS.compile(scrapers, RE2JS.CASE_INSENSITIVE));
    const verdicts = host.local<boolean>("agents", { max: memoryMax });
    const refused = problem(
      "forbidden",
      403,
      `programs of this kind are not let in (plugin ${host.id})`,
    );
    const isWelcome = (agent: string): boolean => {
      if (allow.some((one) => one.matcher(agent).find())) return true;
      return !deny.some((one) => one.matcher(agent).find());
    };
    return {
      request(req) {
        const given = req.headers.get("user-agent");
        if (given === undefined || given === "") return missing === "allow" ? undefined : refused;
        const agent = given.length > maxChars ? given.slice(0, maxChars) : given;
        let verdict = verdicts.get(agent);
        if (verdict === undefined) {
          verdict = isWelcome(agent);
          verdicts.set(agent, verdict);
        }
        return verdict ? undefined : refused;
      },
    };
  },
});
