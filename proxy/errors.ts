/** The one table of answers that weft makes itself: code, status, gRPC status, title; and the error that carries a code. */

/** Who caused an error: the caller, the service behind us, or weft itself. */
export type ErrorSource = "downstream" | "upstream" | "internal";

interface CatalogueEntry {
  /** HTTP status of the answer; 499 is only ever logged. */
  readonly status: number;
  /** gRPC status of the trailers-only answer (CONTRACT section 4). */
  readonly grpc: number;
  /** RFC 9209 proxy error type. */
  readonly proxyStatus: string;
  readonly title: string;
  readonly source: ErrorSource;
}

const entry = (
  status: number,
  grpc: number,
  proxyStatus: string,
  title: string,
  source: ErrorSource,
): CatalogueEntry => ({ status, grpc, proxyStatus, title, source });

/** Every code weft can answer with. A test asserts that docs/errors.md has a section for each. */
export const catalogue = {
  "bad-request": entry(400, 3, "http_request_error", "Bad request", "downstream"),
  unauthenticated: entry(401, 16, "http_request_denied", "Credentials needed", "downstream"),
  forbidden: entry(403, 7, "http_request_denied", "Not allowed", "downstream"),
  "no-route": entry(404, 12, "destination_not_found", "No route", "downstream"),
  "method-not-allowed": entry(405, 12, "http_request_denied", "Method not allowed", "downstream"),
  "request-timeout": entry(408, 4, "http_request_error", "Request timeout", "downstream"),
  "body-too-large": entry(413, 8, "http_request_error", "Body too large", "downstream"),
  "header-too-large": entry(431, 8, "http_request_error", "Header too large", "downstream"),
  misdirected: entry(421, 12, "http_request_error", "Misdirected request", "downstream"),
  "rate-limited": entry(429, 8, "http_request_denied", "Too many requests", "downstream"),
  "client-closed": entry(499, 1, "http_request_error", "Client closed the request", "downstream"),
  "plugin-error": entry(500, 13, "proxy_internal_error", "Plugin failed", "internal"),
  "internal-error": entry(500, 13, "proxy_internal_error", "Internal error", "internal"),
  "not-implemented": entry(501, 12, "http_request_error", "Not implemented", "downstream"),
  "connect-refused": entry(502, 14, "connection_refused", "Connection refused", "upstream"),
  "connect-timeout": entry(502, 14, "connection_timeout", "Connection timeout", "upstream"),
  "upstream-reset": entry(
    502,
    14,
    "connection_terminated",
    "Upstream closed the connection",
    "upstream",
  ),
  "upstream-invalid": entry(502, 14, "http_protocol_error", "Invalid upstream answer", "upstream"),
  "upstream-tls": entry(502, 14, "tls_protocol_error", "Upstream TLS failed", "upstream"),
  "auth-unavailable": entry(
    503,
    14,
    "proxy_internal_response",
    "Authorization unavailable",
    "internal",
  ),
  "no-endpoint": entry(503, 14, "destination_unavailable", "No endpoint", "upstream"),
  "all-ejected": entry(503, 14, "destination_unavailable", "No healthy endpoint", "upstream"),
  "breaker-open": entry(503, 14, "connection_limit_reached", "Circuit breaker open", "upstream"),
  overloaded: entry(503, 14, "proxy_internal_response", "Overloaded", "internal"),
  "deadline-exceeded": entry(504, 4, "http_response_timeout", "Deadline exceeded", "upstream"),
  "attempt-timeout": entry(504, 4, "http_response_timeout", "Attempt timed out", "upstream"),
} as const satisfies Record<string, CatalogueEntry>;

/** A machine word for one cause: the same in the body, `proxy-status`, log, metric label and docs page. */
export type ErrorCode = keyof typeof catalogue;

/** All codes, in the table's order. */
export const errorCodes = Object.keys(catalogue) as ErrorCode[];

/** What went wrong with an exchange, in words that name the place and the cause. */
export class ProxyError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly source: ErrorSource;
  /** True when another attempt could not repeat work: nothing reached the upstream. */
  readonly retryable: boolean;

  /**
   * @param code one of {@link catalogue}
   * @param message a plain sentence: what was being done, to whom, what happened
   * @param options `retryable`: nothing was processed upstream (default false); `cause`
   */
  constructor(
    code: ErrorCode,
    message: string,
    options?: { retryable?: boolean; cause?: unknown },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ProxyError";
    this.code = code;
    this.status = catalogue[code].status;
    this.source = catalogue[code].source;
    this.retryable = options?.retryable ?? false;
  }
}
