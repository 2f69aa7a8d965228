/** The paths of one host as a tree of elements: exact, prefix and template matches in one walk down. */

import { templateElements, type Entry } from "./entry.ts";
import { Bucket, type Search } from "./search.ts";

class Node<T> {
  children: Map<string, Node<T>> | null = null;
  /** Below a `{x}`. */
  parameter: Node<T> | null = null;
  exact: Bucket<T> | null = null;
  prefix: Bucket<T> | null = null;
  template: Bucket<T> | null = null;
}

/** Cost depends on the depth of the request's path as far as the tree follows it, not on the number of routes. */
export class PathTree<T> {
  private readonly root = new Node<T>();

  /** @param entries exact, prefix and template ones, in rank order */
  constructor(entries: readonly Entry<T>[]) {
    const lists = new Map<Node<T>, Record<"exact" | "prefix" | "template", Entry<T>[]>>();
    for (const entry of entries) {
      const node = this.nodeFor(entry);
      let kinds = lists.get(node);
      if (kinds === undefined) lists.set(node, (kinds = { exact: [], prefix: [], template: [] }));
      kinds[entry.kind as "exact" | "prefix" | "template"].push(entry);
    }
    for (const [node, { exact, prefix, template }] of lists) {
      if (exact.length > 0) node.exact = new Bucket(exact);
      if (prefix.length > 0) node.prefix = new Bucket(prefix);
      if (template.length > 0) node.template = new Bucket(template);
    }
  }

  offerTo(search: Search<T>): void {
    const path = search.query.path;
    // `*` of OPTIONS, or the empty path of CONNECT: only what takes everything takes it
    if (path.charCodeAt(0) === 47) visit(this.root, 1, search);
    else this.root.prefix?.offerTo(search);
  }

  private nodeFor(entry: Entry<T>): Node<T> {
    if (entry.kind === "prefix" && entry.path === "") return this.root;
    let node = this.root;
    const elements =
      entry.kind === "template" ? templateElements(entry.path) : entry.path.slice(1).split("/");
    for (const element of elements) {
      if (element === null) node = node.parameter ??= new Node();
      else {
        node.children ??= new Map();
        let child = node.children.get(element);
        if (child === undefined) node.children.set(element, (child = new Node()));
        node = child;
      }
    }
    return node;
  }
}

/** Deepest first, so that a shorter prefix is asked only when no longer one took the request. */
function visit<T>(node: Node<T>, start: number, search: Search<T>): void {
  const path = search.query.path;
  // start is behind the slash that follows this node's element; beyond the end there is no further element
  if (start <= path.length) {
    if (node.children !== null || node.parameter !== null) {
      let end = path.indexOf("/", start);
      if (end === -1) end = path.length;
      const child = node.children?.get(path.slice(start, end));
      if (child !== undefined) visit(child, end + 1, search);
      if (node.parameter !== null && end > start) visit(node.parameter, end + 1, search);
    }
  } else {
    node.exact?.offerTo(search);
    node.template?.offerTo(search);
  }
  node.prefix?.offerTo(search);
}
