/** The text that every match of a regular expression starts with: ranks it among prefixes, and rules it out without running it. */

/**
 * The literal prefix of an anchored expression: `/v` for `^/v\d+/`. Empty when it is not anchored with `^`, begins
 * with a group, or has an alternative at its top level.
 */
export function regexLiteral(pattern: string): string {
  if (!pattern.startsWith("^") || misleading.test(pattern) || hasAlternative(pattern)) return "";
  let literal = "";
  for (let i = 1; i < pattern.length;) {
    let c = pattern[i]!;
    let next = i + 1;
    if (c === "\\") {
      c = pattern[next] ?? "";
      // an escaped letter or digit is a class or an assertion; escaped punctuation is itself
      if (c === "" || /[0-9A-Za-z]/.test(c)) break;
      next++;
    } else if (".[({^$|?*+)".includes(c)) break;
    const quantifier = pattern[next];
    if (quantifier === "?" || quantifier === "*" || quantifier === "{") break;
    literal += c;
    if (quantifier === "+") break;
    i = next;
  }
  return literal;
}

/** Quoted text, whose brackets are none, and flags with a quantifier, which is that of what stands before them. */
const misleading = /\\Q|\(\?[a-zA-Z-]+\)[?*+{]/;

function hasAlternative(pattern: string): boolean {
  let depth = 0;
  let inClass = false;
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i];
    if (c === "\\") i++;
    else if (inClass) {
      // `[[:alpha:](]` goes on behind its named class
      const named = c === "[" && pattern[i + 1] === ":" ? pattern.indexOf(":]", i + 2) : -1;
      if (named !== -1) i = named + 1;
      else inClass = c !== "]";
    } else if (c === "[") {
      inClass = true;
      // `[]a]` and `[^]a]` hold a bracket
      if (pattern[i + 1] === "^") i++;
      if (pattern[i + 1] === "]") i++;
    } else if (c === "(") depth++;
    else if (c === ")") depth--;
    else if (c === "|" && depth === 0) return true;
  }
  return false;
}
