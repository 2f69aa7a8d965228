/** An explanation for people. */

import type { Explanation } from "../explain.ts";
import { formatDuration } from "../units.ts";

/** Lines for a terminal, without a last line break. */
export function formatExplanation(explanation: Explanation): string {
  const { request, route, plugins, services, endpoints, timeouts, retry, lost } = explanation;
  const lines: string[] = [];
  if (request !== null) {
    lines.push(`${request.method} ${request.host}${request.path}${request.query}`);
  }
  lines.push(route === null ? explanation.action : `route ${route}: ${explanation.action}`);
  if (explanation.upstreamTarget !== null) line("target", explanation.upstreamTarget);
  line("plugins", plugins.length === 0 ? "none" : plugins.join(" -> "));
  if (timeouts !== null && explanation.status === null) {
    const set = Object.entries(timeouts).filter(([, ms]) => ms !== null);
    line(
      "timeouts",
      set.map(([name, ms]) => `${name.replace(/Ms$/, "")} ${formatDuration(ms!)}`).join(", "),
    );
  }
  if (retry !== null) {
    const again = retry.attempts === 1 ? "once" : `${retry.attempts} times`;
    line(
      "retry",
      retry.attempts === 0
        ? "never"
        : `${again} on ${retry.on.join(", ")}; budget ${retry.budget.percent} % and ${retry.budget.floorPerS}/s`,
    );
  }
  for (const { service } of services) {
    const own = endpoints.filter((endpoint) => endpoint.service === service);
    const shown = own.map(({ address, state }) =>
      state === undefined ? address : `${address} ${state}`,
    );
    line(`service ${service}`, shown.length === 0 ? "no endpoint" : shown.join(", "));
  }
  if (lost.length > 0) {
    lines.push("other routes");
    const width = Math.max(...lost.map((one) => one.route.length));
    for (const { route: name, why } of lost) lines.push(`  ${name.padEnd(width)}  ${why}`);
  }
  return lines.join("\n");

  function line(name: string, value: string): void {
    lines.push(`  ${name}: ${value}`);
  }
}
