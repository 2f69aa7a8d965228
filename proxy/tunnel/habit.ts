/** What the connections of a port have turned out to be: whether its service is called, and heard, before a caller has spoken. */

/** `http`: HTTP, or TLS that goes elsewhere; `caller`: the caller spoke first to the service; `service`: the service did. */
export type Outcome = "http" | "caller" | "service";

const MEMORY = 0xffff;

/**
 * One per listener and worker, over its last sixteen connections.
 *
 * A service that speaks first is silent until it is called, and its caller until it has spoken. So it is called while the
 * caller's first bytes are awaited, unless sixteen connections in a row were HTTP. What it then says is passed on at once
 * only where that has been right before and no HTTP was seen: a greeting that came before a request would take a caller
 * of HTTP for one of the service.
 */
export class Habit {
  private http = 0;
  private service = 0;

  /** The service is called without waiting for the caller. */
  get callsAtOnce(): boolean {
    return this.http !== MEMORY;
  }

  /** What the service says first is passed on without waiting for the caller. */
  get believesService(): boolean {
    return this.http === 0 && this.service !== 0;
  }

  learn(outcome: Outcome): void {
    this.http = ((this.http << 1) | (outcome === "http" ? 1 : 0)) & MEMORY;
    this.service = ((this.service << 1) | (outcome === "service" ? 1 : 0)) & MEMORY;
  }
}
