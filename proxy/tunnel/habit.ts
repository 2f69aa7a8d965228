/** What the connections of a port have turned out to be: whether it pays to call the service before a caller has spoken. */

/** Of the last sixteen connections, newest in the lowest bit: 1 went to the service, 0 was HTTP or went elsewhere by name. */
const MEMORY = 0xffff;

/**
 * One per listener and worker. A service that speaks first is waiting for its caller while we wait for that caller's
 * first byte: so it is called at once, until sixteen connections in a row had no use for it. From then on it is called
 * when nothing has come for the time of detection, until one is of use again.
 */
export class Habit {
  private seen = MEMORY;

  get callsAtOnce(): boolean {
    return this.seen !== 0;
  }

  learn(usedService: boolean): void {
    this.seen = ((this.seen << 1) | (usedService ? 1 : 0)) & MEMORY;
  }
}
