/** When a process that runs out of something refuses new work, and when it takes it again. */

export interface ShedOptions {
  /** From this share on nothing new is taken; 0 to 1, default 0.9: beyond it V8 does little but collect. */
  readonly from?: number;
  /** Below this share all is well again; default 0.85: who sheds must not flutter. */
  readonly until?: number;
}

/** Decides from the share that is used up. */
export class Shed {
  private readonly from: number;
  private readonly until: number;
  /** True while new work is to be refused. */
  isOn = false;

  constructor(options: ShedOptions = {}) {
    this.from = options.from ?? 0.9;
    this.until = options.until ?? 0.85;
  }

  /** @returns whether the decision has changed */
  look(share: number): boolean {
    const wasOn = this.isOn;
    this.isOn = wasOn ? share >= this.until : share >= this.from;
    return wasOn !== this.isOn;
  }
}
