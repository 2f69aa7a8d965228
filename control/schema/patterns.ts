/** What is wrong with a user's regular expression or path template, in words. */

import { RE2JS } from "re2js";

/** Null: nothing. The pattern is compiled the way the router does it: RE2, linear time. */
export function regexFault(pattern: string): string | null {
  if (pattern.length > 2000) return "the regular expression is longer than 2000 characters";
  try {
    RE2JS.compile(pattern);
    return null;
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).replace(
      /^error parsing regexp: /,
      "",
    );
    if (/\(\?<?[=!]/.test(pattern))
      return `look-around is not possible in a regular expression here: ${reason}`;
    if (/\\[1-9]/.test(pattern))
      return `back-references are not possible in a regular expression here: ${reason}`;
    return `the regular expression cannot be read: ${reason}`;
  }
}

/** Null: nothing. */
export function templateFault(template: string): string | null {
  if (!template.startsWith("/")) return 'a template begins with "/"';
  if (/[\s?#\p{Cc}]/u.test(template))
    return 'a template holds no "?", "#", space or control character';
  const seen = new Set<string>();
  for (const element of template.slice(1).split("/")) {
    if (!/[{}]/.test(element)) continue;
    const match = /^\{([A-Za-z_][A-Za-z0-9_]*)\}$/.exec(element);
    if (match === null)
      return `"${element}" is not one whole element: write {name} between two slashes`;
    const name = match[1] ?? "";
    if (seen.has(name)) return `{${name}} is here twice`;
    seen.add(name);
  }
  return null;
}
