/** Expands `${VAR}` and `${VAR:-default}` in a text of the configuration. */

export type Expansion =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly message: string; readonly expected: string };

const deepest = 8;

/**
 * `${VAR}` is the variable's value, which must be set (an empty one is fine); `${VAR:-default}` is the default when it
 * is unset or empty, and may hold further references; `$${` is a literal `${`. Anything else with a `$` is itself.
 */
export function expandEnv(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
  depth = 0,
): Expansion {
  if (!text.includes("${")) return { ok: true, text };
  if (depth > deepest)
    return refuse("variable references are nested too deeply", `at most ${deepest} levels`);
  let out = "";
  let at = 0;
  while (at < text.length) {
    const start = text.indexOf("${", at);
    if (start === -1) break;
    if (text[start - 1] === "$" && start - 1 >= at) {
      out += text.slice(at, start - 1) + "${";
      at = start + 2;
      continue;
    }
    const end = closingBrace(text, start + 2);
    if (end === -1)
      return refuse(
        `"${shorten(text.slice(start))}" has no closing brace`,
        "${VAR} or ${VAR:-default}; write $${ for a literal ${",
      );
    const inner = text.slice(start + 2, end);
    const match = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/.exec(inner);
    if (match === null)
      return refuse(
        `"\${${shorten(inner)}}" is not a variable reference`,
        "${VAR} or ${VAR:-default}; write $${ for a literal ${",
      );
    const name = match[1] ?? "";
    const value = Object.hasOwn(env, name) ? env[name] : undefined;
    if (match[2] === undefined) {
      if (value === undefined)
        return refuse(
          `environment variable ${name} is not set`,
          `${name} in the environment, or a default: \${${name}:-default}`,
        );
      out += text.slice(at, start) + value;
    } else {
      let inserted = value ?? "";
      if (inserted === "") {
        const fallback = expandEnv(match[2], env, depth + 1);
        if (!fallback.ok) return fallback;
        inserted = fallback.text;
      }
      out += text.slice(at, start) + inserted;
    }
    at = end + 1;
  }
  return { ok: true, text: out + text.slice(at) };
}

function closingBrace(text: string, from: number): number {
  let open = 1;
  for (let at = from; at < text.length; at++) {
    if (text[at] === "$" && text[at + 1] === "{") {
      open++;
      at++;
    } else if (text[at] === "}" && --open === 0) return at;
  }
  return -1;
}

function shorten(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

function refuse(message: string, expected: string): Expansion {
  return { ok: false, message, expected };
}
