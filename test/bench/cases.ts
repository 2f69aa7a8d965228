/** What is measured, in the order in which it runs. */

import { authCase } from "./auth.ts";
import type { Case, Contestant } from "./bench.ts";
import { bulkCase } from "./bulk.ts";
import { handshakeCase } from "./handshakes.ts";
import { idleCase } from "./idle.ts";
import { meshCase } from "./mesh.ts";
import { protocolCases } from "./protocols.ts";
import { reloadCase } from "./reload.ts";
import { tailCase } from "./tail.ts";
import { throughputCase } from "./throughput.ts";
import { workersCase } from "./workers.ts";

const servers: readonly Contestant[] = [
  { label: "weft", peer: "weft" },
  { label: "haproxy", peer: "haproxy" },
  { label: "nginx", peer: "nginx" },
  { label: "envoy", peer: "envoy" },
  { label: "traefik", peer: "traefik" },
  { label: "caddy", peer: "caddy" },
];
const onNode: readonly Contestant[] = [
  { label: "http-proxy", peer: "http-proxy" },
  { label: "http-proxy-3", peer: "http-proxy-3" },
  { label: "undici behind node:http", peer: "undici" },
  { label: "@fastify/http-proxy", peer: "fastify" },
];

/** All cases; `npm run bench -- NAME...` picks. */
export const cases: readonly Case[] = [
  throughputCase({
    name: "h1",
    title: "HTTP/1.1, 64 keep-alive connections, 64-byte answers, three endpoints",
    base: "haproxy",
    contestants: [...servers, ...onNode, { label: "relay (floor)", peer: "relay" }],
  }),
  throughputCase({
    name: "large",
    title: "answers of 100 KiB",
    base: "haproxy",
    path: "/large",
    contestants: [...servers, ...onNode],
  }),
  throughputCase({
    name: "upload",
    title: "uploads of 1 MiB, 16 connections",
    base: "haproxy",
    path: "/upload",
    bodyBytes: 1024 * 1024,
    connections: 16,
    contestants: [...servers, ...onNode],
  }),
  throughputCase({
    name: "tls",
    title: "as h1, over TLS 1.3",
    base: "haproxy",
    tls: true,
    contestants: servers,
  }),
  ...protocolCases(servers),
  bulkCase({
    name: "bulk",
    title: "one answer of 1 GiB over HTTP/1.1",
    down: "http1",
    contestants: servers,
  }),
  bulkCase({
    name: "bulk-h2",
    title: "one answer of 1 GiB over HTTP/2, origin of HTTP/1.1",
    down: "http2",
    contestants: servers,
  }),
  handshakeCase({
    name: "handshakes",
    title: "a new TLS 1.3 connection for each request, no resumption",
    resume: false,
    contestants: servers,
  }),
  handshakeCase({
    name: "resumption",
    title: "a new TLS 1.3 connection for each request, resumed by ticket",
    resume: true,
    contestants: servers,
  }),
  throughputCase({
    name: "routes",
    title: "weft with 10 routes and with 10,000",
    base: "10 routes",
    contestants: [
      { label: "10 routes", peer: "weft", task: { routes: 10 } },
      { label: "10,000 routes", peer: "weft", task: { routes: 10_000 } },
    ],
  }),
  throughputCase({
    name: "plugins",
    title: "weft with no plugin on the route and with ten trivial ones",
    base: "0 plugins",
    contestants: [
      { label: "0 plugins", peer: "weft" },
      { label: "10 plugins", peer: "weft", task: { plugins: 10 } },
    ],
  }),
  authCase,
  idleCase(servers),
  reloadCase,
  tailCase(servers),
  workersCase,
  meshCase,
];
