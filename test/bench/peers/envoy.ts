/** Envoy as a contestant. */

import { put, type Launch, type Task } from "./task.ts";

/** One worker thread, no access log, one retry, `x-request-id` and `x-forwarded-for` as it does by default. */
export function envoy(task: Task): Launch {
  const address = (port: number): string =>
    `{ socket_address: { address: 127.0.0.1, port_value: ${port} } }`;
  const endpoints = task.upstreams
    .map((port) => `{ endpoint: { address: ${address(port)} } }`)
    .join(", ");
  const tls =
    task.tls === null
      ? ""
      : `
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_params: { tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }
            tls_certificates: [{ certificate_chain: { filename: "${task.tls.cert}" }, private_key: { filename: "${task.tls.key}" } }]`;
  const http2 =
    task.up === "http2"
      ? `
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }`
      : "";
  const http = `
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          use_remote_address: true
          generate_request_id: true
          upgrade_configs: [{ upgrade_type: websocket }]
          common_http_protocol_options: { idle_timeout: 600s }
          http_filters:${(task.policies ?? []).map((line) => `\n          - ${line}`).join("")}
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route: { cluster: origin, timeout: 0s, retry_policy: { retry_on: "connect-failure,reset", num_retries: 1 } }`;
  const tcp = `
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: all
          cluster: origin`;
  const text = `
admin: { address: ${address(task.adminPort)} }
static_resources:
  listeners:
  - name: web
    address: ${address(task.port)}
    filter_chains:
    - filters:${task.down === "tcp" ? tcp : http}${tls}
  clusters:
  - name: origin
    connect_timeout: 5s
    lb_policy: ROUND_ROBIN${http2}
    circuit_breakers: { thresholds: [{ max_connections: 20000, max_pending_requests: 20000, max_requests: 20000 }] }
    load_assignment: { cluster_name: origin, endpoints: [{ lb_endpoints: [${endpoints}] }] }
`;
  const file = put(task, "envoy.yaml", text);
  return {
    command: ["envoy", "--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c", file],
  };
}
