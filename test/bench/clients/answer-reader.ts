/** Finds the ends of HTTP/1.1 answers with a content-length: all that the clients of the benchmark need. */

/** Fed with what one connection receives. */
export class AnswerReader {
  private head = "";
  private bodyLeft = -1;
  private status = 0;

  /** @returns the status when an answer is complete, else 0 */
  feed(chunk: Buffer): number {
    let rest = chunk.length;
    if (this.bodyLeft < 0) {
      const before = this.head.length;
      this.head += chunk.latin1Slice();
      const end = this.head.indexOf("\r\n\r\n");
      if (end === -1) return 0;
      rest = chunk.length - (end + 4 - before);
      this.status = Number(this.head.slice(9, 12));
      this.bodyLeft = Number(/\r\ncontent-length: *(\d+)/i.exec(this.head)?.[1] ?? 0);
      this.head = "";
    }
    this.bodyLeft -= rest;
    if (this.bodyLeft > 0) return 0;
    this.bodyLeft = -1;
    return this.status;
  }
}
