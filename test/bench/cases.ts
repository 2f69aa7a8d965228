/** What is measured: each case compares a few contestants doing the same work. */

import type { PeerName } from "./peers.ts";

/** One proxy in one configuration. */
export interface Contestant {
  /** Unique in its case; also the row's label. */
  readonly label: string;
  readonly peer: PeerName;
  readonly routes?: number;
  readonly plugins?: number;
}

/** A group of contestants under one load. */
export interface Case {
  readonly name: string;
  readonly title: string;
  readonly tls: boolean;
  /** Callers speak HTTP/2 with prior knowledge; the origin is HTTP/1.1 in any case. */
  readonly http2?: boolean;
  readonly contestants: readonly Contestant[];
  /** Label that the ratios are taken against. */
  readonly base: string;
}

/** All cases; `npm run bench -- NAME...` picks. */
export const cases: readonly Case[] = [
  {
    name: "h1",
    title: "HTTP/1.1, 64 keep-alive connections, 64-byte answers, three endpoints",
    tls: false,
    base: "haproxy",
    contestants: [
      { label: "weft", peer: "weft" },
      { label: "haproxy", peer: "haproxy" },
      { label: "nginx", peer: "nginx" },
      { label: "relay (floor)", peer: "relay" },
    ],
  },
  {
    name: "tls",
    title: "the same over TLS 1.3",
    tls: true,
    base: "haproxy",
    contestants: [
      { label: "weft", peer: "weft" },
      { label: "haproxy", peer: "haproxy" },
      { label: "nginx", peer: "nginx" },
    ],
  },
  {
    name: "h2",
    title: "HTTP/2 in plain text, 8 connections with 32 streams each, to an HTTP/1.1 origin",
    tls: false,
    http2: true,
    base: "haproxy",
    contestants: [
      { label: "weft", peer: "weft" },
      { label: "haproxy", peer: "haproxy" },
      { label: "nginx", peer: "nginx" },
    ],
  },
  {
    name: "routes",
    title: "weft with 1 route and with 10,000",
    tls: false,
    base: "1 route",
    contestants: [
      { label: "1 route", peer: "weft" },
      { label: "10,000 routes", peer: "weft", routes: 10_000 },
    ],
  },
  {
    name: "plugins",
    title: "weft with no plugin on the route and with ten trivial ones",
    tls: false,
    base: "0 plugins",
    contestants: [
      { label: "0 plugins", peer: "weft" },
      { label: "10 plugins", peer: "weft", plugins: 10 },
    ],
  },
];
