/** The signals of a serving process. */

/** Under a script runner a terminal's Ctrl-C arrives more than once: from the terminal, from npm, from the runner. */
const echoMs = 300;

export type StopSignal = "SIGTERM" | "SIGINT";

export class Signals {
  /** The first SIGTERM or SIGINT. */
  readonly stop: Promise<StopSignal>;
  /** The second. */
  readonly again: Promise<StopSignal>;
  /** SIGHUP. */
  onReload: () => void = () => {};
  /** SIGUSR2. */
  onRestart: () => void = () => {};
  /** SIGHUP and SIGUSR1/2 are of interest to an app beside us too. */
  onOther: (name: NodeJS.Signals) => void = () => {};
  private settleStop: (name: StopSignal) => void = () => {};
  private settleAgain: (name: StopSignal) => void = () => {};
  private firstMs: number | null = null;

  constructor(isUnderRunner: boolean = process.env.WEFT_RUNNER === "1") {
    this.stop = new Promise((resolve) => (this.settleStop = resolve));
    this.again = new Promise((resolve) => (this.settleAgain = resolve));
    for (const name of ["SIGTERM", "SIGINT"] as const) {
      process.on(name, () => {
        const nowMs = performance.now();
        if (this.firstMs === null) {
          this.firstMs = nowMs;
          this.settleStop(name);
        } else if (!isUnderRunner || nowMs - this.firstMs > echoMs) this.settleAgain(name);
      });
    }
    process.on("SIGHUP", () => this.onReload());
    // its default would end the process
    process.on("SIGUSR2", () => this.onRestart());
    // a reader of our log that goes away is no reason to end
    process.on("SIGPIPE", () => {});
  }

  /** The first stop signal, given by ourselves. */
  stopNow(): void {
    this.firstMs = performance.now();
    this.settleStop("SIGTERM");
  }
}
