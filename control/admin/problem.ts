/** The admin API's error answers: `application/problem+json` (RFC 9457). */

import type { AdminProblem } from "./source.ts";

/** Codes of the admin API and what each is called. */
const titles = {
  "bad-request": "Bad request",
  unauthenticated: "Credentials needed",
  forbidden: "Not allowed",
  "not-found": "Not found",
  "method-not-allowed": "Method not allowed",
  "stale-config": "Configuration has changed",
  "body-too-large": "Body too large",
  "invalid-config": "Invalid configuration",
  "internal-error": "Internal error",
  unavailable: "Not available now",
} as const;

export type AdminCode = keyof typeof titles;

/**
 * An error answer.
 * @param status HTTP status
 * @param detail a plain sentence with the cause and names
 * @param extra further members of the document, and further header fields
 */
export function problemResponse(
  status: number,
  code: AdminCode,
  detail: string,
  extra: {
    readonly members?: Readonly<Record<string, unknown>>;
    readonly headers?: Readonly<Record<string, string>>;
  } = {},
): Response {
  const document = {
    type: `https://weft.dev/docs/admin#${code}`,
    title: titles[code],
    status,
    detail,
    code,
    ...extra.members,
  };
  return new Response(`${JSON.stringify(document)}\n`, {
    status,
    headers: { "content-type": "application/problem+json", ...extra.headers },
  });
}

/** 422: the configuration was refused and nothing has changed; `problems` are those that `weft check` prints. */
export function rejectedResponse(problems: readonly AdminProblem[]): Response {
  const first = problems[0];
  const count = problems.length === 1 ? "one problem" : `${problems.length} problems`;
  const detail =
    first === undefined
      ? "the configuration was refused"
      : `${count}, nothing has changed: ${inWords(first)}`;
  return problemResponse(422, "invalid-config", detail, { members: { problems } });
}

function inWords(problem: AdminProblem): string {
  const place =
    problem.line == null
      ? problem.path.join(".")
      : `${problem.file ?? "config"}:${problem.line}:${problem.column ?? 1}`;
  const hint =
    problem.suggestion ?? (problem.expected === undefined ? "" : `expected ${problem.expected}`);
  return [place === "" ? null : `${place}:`, problem.message, hint === "" ? null : `(${hint})`]
    .filter((part) => part !== null)
    .join(" ");
}
