/** Guesses which known word was meant by an unknown one. */

/**
 * The known word nearest to `word`, or null when none is near: at most a third of the longer one's letters differ
 * (swapped neighbours count once), or they are equal but for case and separators.
 */
export function nearest(word: string, known: Iterable<string>): string | null {
  if (word.length > 64) return null;
  const plain = flatten(word);
  let best: string | null = null;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    if (flatten(candidate) === plain && plain !== "") return candidate;
    const limit = Math.max(1, Math.floor(Math.max(word.length, candidate.length) / 3));
    if (Math.abs(candidate.length - word.length) > limit) continue;
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    const isCloser =
      distance < bestDistance ||
      (distance === bestDistance && samePrefix(word, candidate) > samePrefix(word, best ?? ""));
    if (distance <= limit && isCloser && distance < candidate.length) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Words that other proxies use for the same thing. */
const otherWords: Readonly<Record<string, readonly string[]>> = {
  upstream: ["services", "to"],
  upstreams: ["services", "to"],
  backend: ["services", "to"],
  backends: ["services", "to"],
  backendrefs: ["to"],
  cluster: ["services", "to"],
  clusters: ["services"],
  target: ["to", "endpoints"],
  targets: ["to", "endpoints"],
  service: ["to"],
  servers: ["endpoints"],
  url: ["endpoints", "address"],
  urls: ["endpoints"],
  nodes: ["endpoints"],
  addresses: ["endpoints"],
  rules: ["routes"],
  matches: ["match"],
  hostnames: ["hosts"],
  domains: ["hosts"],
  filters: ["plugins"],
  middlewares: ["plugins"],
  middleware: ["plugins"],
  http: ["gateway"],
  server: ["gateway"],
  sidecar: ["mesh"],
  entrypoints: ["listeners"],
  loadbalancer: ["balance"],
  lb: ["balance"],
  lbpolicy: ["balance"],
  outlierdetection: ["ejection"],
  circuitbreaker: ["breaker"],
  healthcheck: ["health"],
  healthchecks: ["health"],
  users: ["consumers"],
  threads: ["workers"],
  logging: ["observe"],
  metrics: ["observe"],
  params: ["query"],
  queryparams: ["query"],
};

/** The same question about a key: the word that another proxy uses for it is understood, too. */
export function didYouMeanKey(word: string, known: readonly string[]): string | null {
  const close = didYouMean(word, known);
  const plain = flatten(word);
  if (close !== null || !Object.hasOwn(otherWords, plain)) return close;
  const found = otherWords[plain]?.find((other) => known.includes(other));
  return found === undefined ? null : `did you mean "${found}"?`;
}

/** `did you mean "routes"?`, ready for a problem; null when nothing is near. */
export function didYouMean(word: string, known: Iterable<string>): string | null {
  const found = nearest(word, known);
  return found === null ? null : `did you mean "${found}"?`;
}

function samePrefix(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}

function flatten(word: string): string {
  return word.toLowerCase().replaceAll(/[-_. ]/g, "");
}

/** Optimal string alignment: insert, delete, replace, swap neighbours. */
function editDistance(a: string, b: string): number {
  let older: number[] = [];
  let old = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(
        (old[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (old[j - 1] ?? 0) + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, (older[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    older = old;
    old = row;
  }
  return old[b.length] ?? 0;
}
