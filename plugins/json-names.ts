/** Finds names that a JSON text gives twice in one object: one parser takes the first value, another the last. */

/** True when some object of a text that is valid JSON has a name twice, however it is escaped. */
export function hasDoubleName(json: string): boolean {
  // per open bracket: the names of an object so far, or null for a list
  const open: (Set<string> | null)[] = [];
  const token = /"(?:[^"\\]|\\.)*"|[{}[\],]/gsu;
  let mayBeName = false;
  for (const [text] of json.matchAll(token)) {
    switch (text) {
      case "{":
        open.push(new Set());
        mayBeName = true;
        break;
      case "[":
        open.push(null);
        mayBeName = false;
        break;
      case "}":
      case "]":
        open.pop();
        mayBeName = false;
        break;
      case ",":
        mayBeName = true;
        break;
      default: {
        const names = open.at(-1);
        if (!mayBeName || names == null) break;
        const name = JSON.parse(text) as string;
        if (names.has(name)) return true;
        names.add(name);
        mayBeName = false;
      }
    }
  }
  return false;
}
