/** How much of its memory a worker has used up: of the heap that V8 allows its thread, and of what the system allows the process. */

import v8 from "node:v8";
import { resourceLimits } from "node:worker_threads";
import { Shed } from "../policies/shed.ts";
import type { Log } from "../proxy/pipeline/plugin.ts";

/** Short of heap for so many looks: it does not get better by itself. */
const hopelessLooks = 100;
/** The process is looked at once in so many looks: that costs a system call. */
const processEvery = 10;

/** Bytes of objects that have outlived a collection or two, at most: the limit that ends a thread. */
const oldLimitBytes =
  v8.getHeapStatistics().heap_size_limit -
  (resourceLimits.maxYoungGenerationSizeMb ?? 0) * 1024 * 1024;

/** Looked at with each heartbeat, every 100 ms. */
export class WorkerMemory {
  private readonly log: Log;
  private readonly shed = new Shed();
  /** Bytes that a cgroup leaves the process; 0: no limit. */
  private readonly processBytes: number;
  private looks = 0;
  private processShare = 0;
  private shortLooks = 0;
  private readonly hopeless: () => void;

  /** @param hopeless called once, after 10 s without a way out: somebody keeps what nobody needs, and only a new thread helps */
  constructor(log: Log, hopeless: () => void) {
    this.log = log;
    this.hopeless = hopeless;
    const limit = process.constrainedMemory();
    // without a limit Linux says a number near 2^64
    this.processBytes = limit > 0 && limit < 2 ** 50 ? limit : 0;
  }

  /** True: new requests are refused with 503 `overloaded`, new TCP connections closed. */
  get isShort(): boolean {
    return this.shed.isOn;
  }

  look(): void {
    let oldBytes = 0;
    for (const space of v8.getHeapSpaceStatistics())
      if (!space.space_name.startsWith("new_")) oldBytes += space.space_used_size;
    if (this.processBytes > 0 && this.looks++ % processEvery === 0)
      this.processShare = process.memoryUsage.rss() / this.processBytes;
    const heapShare = oldBytes / oldLimitBytes;
    this.shortLooks = this.isShort && heapShare >= this.processShare ? this.shortLooks + 1 : 0;
    if (this.shortLooks === hopelessLooks) this.hopeless();
    const share = Math.max(heapShare, this.processShare);
    if (!this.shed.look(share)) return;
    const percent = Math.round(share * 100);
    if (this.isShort)
      this.log.warn("short of memory: new requests get 503 overloaded", { percent });
    else this.log.info("memory again: requests are served", { percent });
  }
}
