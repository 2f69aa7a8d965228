/** The dashboard: reads /dashboard.json every two seconds and shows the differences as rates. Text goes in as text, never as HTML. */

const intervalMs = 2000;
const historyLength = 60;
const routesShown = 200;

let before = null;
let now = null;
let paused = false;
const history = { rate: [], errors: [], p99: [] };

const byId = (id) => document.getElementById(id);

/** An element with a class and children (texts or elements). */
function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Requests, errors and latency between two readings of the same thing; nulls until there are two. */
function traffic(current, previous, seconds) {
  if (!previous || seconds <= 0) return { rate: null, errorPct: null, p50: null, p99: null };
  const requests = Math.max(0, current.requests - previous.requests);
  const errors = Math.max(0, current.errors - previous.errors);
  return {
    rate: requests / seconds,
    errorPct: requests === 0 ? null : (100 * errors) / requests,
    p50: quantile(0.5, current.buckets, previous.buckets),
    p99: quantile(0.99, current.buckets, previous.buckets),
  };
}

/** Milliseconds, by linear interpolation inside the bucket, as Prometheus does; null without samples. */
function quantile(q, buckets, earlier) {
  const bounds = Object.entries(buckets)
    .map(([le, count]) => [le === "+Inf" ? Infinity : Number(le), count - (earlier[le] ?? 0)])
    .sort((a, b) => a[0] - b[0]);
  const total = bounds.length === 0 ? 0 : bounds[bounds.length - 1][1];
  if (total <= 0) return null;
  let lower = 0;
  let below = 0;
  for (const [upper, count] of bounds) {
    if (count >= q * total) {
      if (upper === Infinity) return lower * 1000;
      return 1000 * (lower + ((upper - lower) * (q * total - below)) / Math.max(1, count - below));
    }
    lower = upper;
    below = count;
  }
  return lower * 1000;
}

const dash = "–";
const showRate = (rate) =>
  rate === null
    ? dash
    : rate >= 100
      ? Math.round(rate).toLocaleString("en")
      : rate.toFixed(rate >= 10 ? 0 : 1);
const showMs = (ms) =>
  ms === null
    ? dash
    : ms >= 1000
      ? `${(ms / 1000).toFixed(2)} s`
      : `${ms >= 10 ? Math.round(ms) : ms.toFixed(1)} ms`;
const showPct = (pct) =>
  pct === null ? dash : `${pct > 0 && pct < 10 ? pct.toFixed(1) : Math.round(pct)} %`;
const showCount = (count) => Math.round(count).toLocaleString("en");

function showDuration(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400)
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

/** A table from column names (a leading `#` marks numbers) and rows of cells. */
function table(columns, rows) {
  const head = el("tr", "", ...columns.map((name) => column(name)));
  const body = rows.map((cells) => el("tr", "", ...cells));
  return el("table", "", el("thead", "", head), el("tbody", "", ...body));
}

function column(name) {
  const numeric = name.startsWith("#");
  const head = el("th", numeric ? "number" : "", numeric ? name.slice(1) : name);
  head.scope = "col";
  return head;
}

const number = (text, bad) =>
  el("td", `number${bad ? " bad" : text === dash || text === "0.0" ? " zero" : ""}`, text);

function trafficCells(rates, total) {
  return [
    number(showRate(rates.rate)),
    number(showPct(rates.errorPct), rates.errorPct > 0),
    number(showMs(rates.p50)),
    number(showMs(rates.p99)),
    number(showCount(total)),
  ];
}

const find = (list, name) => (list ?? []).find((item) => item.name === name);

function render() {
  const seconds = before === null ? 0 : (now.atMs - before.atMs) / 1000;
  renderHeader();
  renderTiles(traffic(now, before, seconds));
  renderServices(seconds);
  renderRoutes(seconds);
  renderListeners(seconds);
  byId("content").hidden = false;
}

function renderHeader() {
  byId("mode").textContent = now.service === null ? now.mode : `${now.mode} · ${now.service}`;
  const status = byId("status");
  status.textContent = now.draining ? "draining" : now.ready ? "ready" : "not ready";
  status.className = `pill ${now.draining ? "warn" : now.ready ? "good" : "bad"}`;
  const workers = `${now.workers} worker${now.workers === 1 ? "" : "s"}`;
  const config =
    now.config === null
      ? "no configuration"
      : `config v${now.config.version} from ${now.config.origin}`;
  byId("facts").textContent = [config, `up ${showDuration(now.uptimeMs)}`, workers].join(" · ");
  document.title = `weft ${now.service ?? now.mode}`;
  const notice = byId("notice");
  notice.hidden = now.rejected === null;
  if (now.rejected !== null) notice.textContent = rejection(now.rejected);
}

function rejection({ atMs, problems }) {
  const lines = problems.map((problem) => {
    const place = problem.line ? `${problem.file}:${problem.line}:${problem.column}: ` : "";
    return `${place}${problem.message}${problem.suggestion ? ` (${problem.suggestion})` : ""}`;
  });
  const when = new Date(atMs).toLocaleTimeString();
  return [
    `A new configuration was refused at ${when}; the previous one stays in effect.`,
    ...lines,
  ].join("\n");
}

function renderTiles(rates) {
  const tiles = [
    tile("Requests", showRate(rates.rate), "/s", history.rate),
    tile("Errors (5xx)", showPct(rates.errorPct), "", history.errors, rates.errorPct > 0),
    tile("Latency p50", showMs(rates.p50), ""),
    tile("Latency p99", showMs(rates.p99), "", history.p99),
    tile("Active requests", showCount(now.active), ""),
    tile("Connections", showCount(now.connections), ""),
  ];
  byId("tiles").replaceChildren(...tiles);
}

function tile(name, figure, unit, line, bad) {
  const value = el(
    "span",
    "figure",
    figure,
    unit && figure !== dash ? el("small", "", unit) : null,
  );
  return el(
    "div",
    `tile${bad ? " bad" : ""}`,
    el("span", "name", name),
    value,
    line ? sparkline(line) : null,
  );
}

function sparkline(values) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${historyLength - 1} 20`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const top = Math.max(...values, 1e-9);
  const start = historyLength - values.length;
  const points = values.map((value, i) => `${start + i} ${(19 - (18 * value) / top).toFixed(2)}`);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", points.length < 2 ? "" : `M${points.join("L")}`);
  svg.append(path);
  return svg;
}

function renderServices(seconds) {
  const cards = now.services.map((service) =>
    serviceCard(service, find(before?.services, service.name), seconds),
  );
  const empty = el("p", "empty", "No services.");
  byId("services").replaceChildren(...(cards.length === 0 ? [el("div", "card", empty)] : cards));
}

function serviceCard(service, previous, seconds) {
  const rates = traffic(service, previous, seconds);
  const healthy = service.endpoints.filter((endpoint) => endpoint.healthy).length;
  const total = service.endpoints.length;
  const health = el(
    "span",
    `pill ${total > 0 && healthy === total ? "good" : healthy === 0 ? "bad" : "warn"}`,
    `${healthy} of ${total} healthy`,
  );
  const summary = `${showRate(rates.rate)} /s · ${showPct(rates.errorPct)} errors · p99 ${showMs(rates.p99)}`;
  const security =
    service.security === "none"
      ? null
      : el("span", "tag", service.security === "mtls" ? "mTLS" : "TLS");
  const title = el("h3", "", service.name, health, security, el("span", "rates", summary));
  if (total === 0)
    return el("div", "card", title, el("p", "empty", "No endpoints: every call is answered 503."));
  const rows = service.endpoints.map((endpoint) => {
    const earlier = previous?.endpoints.find((other) => other.address === endpoint.address);
    return endpointRow(endpoint, earlier, seconds);
  });
  return el(
    "div",
    "card",
    title,
    table(["Endpoint", "State", "#Attempts/s", "#Failures", "#Total"], rows),
  );
}

function endpointRow(endpoint, earlier, seconds) {
  const attempts =
    earlier && seconds > 0 ? Math.max(0, endpoint.attempts - earlier.attempts) : null;
  const failures =
    earlier && seconds > 0 ? Math.max(0, endpoint.failures - earlier.failures) : null;
  const failurePct = attempts ? (100 * failures) / attempts : null;
  const until = endpoint.ejectedUntil === null ? 0 : Date.parse(endpoint.ejectedUntil) - now.atMs;
  const state = until > 0 ? `${endpoint.state} for ${Math.ceil(until / 1000)} s` : endpoint.state;
  return [
    el("td", "mono", endpoint.address),
    el("td", "", el("span", `dot ${endpoint.state}`), state),
    number(showRate(attempts === null ? null : attempts / seconds)),
    number(showPct(failurePct), failurePct > 0),
    number(showCount(endpoint.attempts)),
  ];
}

function renderRoutes(seconds) {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (route) =>
    [route.name, route.target, ...route.matches, ...route.plugins].join(" ").toLowerCase();
  const found = now.routes.filter((route) => words.every((word) => text(route).includes(word)));
  const previous = new Map((before?.routes ?? []).map((route) => [route.name, route]));
  const rows = found
    .slice(0, routesShown)
    .map((route) => [
      el("td", "", route.name),
      el("td", "mono", ...lines(route.matches)),
      el("td", "", route.target),
      el("td", "", ...route.plugins.map((plugin) => el("span", "tag", plugin))),
      ...trafficCells(traffic(route, previous.get(route.name), seconds), route.requests),
    ]);
  const columns = [
    "Route",
    "Takes",
    "To",
    "Plugins",
    "#Req/s",
    "#Errors",
    "#p50",
    "#p99",
    "#Total",
  ];
  const rest = found.length - rows.length;
  const note =
    rest > 0 ? `${rest} more: filter to see them.` : found.length === 0 ? "No routes." : "";
  const parts = rows.length === 0 ? [] : [table(columns, rows)];
  byId("routes").replaceChildren(...parts, ...(note ? [el("p", "empty", note)] : []));
}

function lines(texts) {
  return texts.flatMap((text, i) => (i === 0 ? [text] : [document.createElement("br"), text]));
}

function renderListeners(seconds) {
  const rows = now.listeners.map((listener) => [
    el("td", "", el("span", `dot ${listener.open ? "open" : "closed"}`), listener.name),
    el("td", "mono", listener.address),
    el("td", "", [listener.plane, listener.secure ? "TLS" : ""].filter(Boolean).join(" · ")),
    ...trafficCells(
      traffic(listener, find(before?.listeners, listener.name), seconds),
      listener.requests,
    ),
  ]);
  const columns = ["Listener", "Address", "Kind", "#Req/s", "#Errors", "#p50", "#p99", "#Total"];
  byId("listeners").replaceChildren(
    rows.length === 0 ? el("p", "empty", "No listeners.") : table(columns, rows),
  );
}

function remember(rates) {
  if (rates.rate === null) return;
  history.rate.push(rates.rate);
  history.errors.push(rates.errorPct ?? 0);
  history.p99.push(rates.p99 ?? 0);
  for (const values of Object.values(history)) if (values.length > historyLength) values.shift();
}

async function refresh() {
  const token = sessionStorage.getItem("weft-token");
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch("/dashboard.json", {
    headers,
    cache: "no-store",
    signal: AbortSignal.timeout(10_000),
  });
  byId("login").hidden = response.status !== 401;
  if (response.status === 401) return lost("locked", true);
  if (!response.ok) throw new Error(`weft answered ${response.status}`);
  const next = await response.json();
  // A restart begins its counters anew: a rate over it would be nonsense.
  before = now !== null && next.uptimeMs >= now.uptimeMs ? now : null;
  now = next;
  remember(traffic(now, before, before === null ? 0 : (now.atMs - before.atMs) / 1000));
  render();
}

function lost(word, hide) {
  const status = byId("status");
  status.textContent = word;
  status.className = "pill bad";
  if (hide) byId("content").hidden = true;
}

async function loop() {
  if (!paused && !document.hidden) {
    try {
      await refresh();
    } catch {
      lost("no answer", false);
    }
  }
  // The first difference should not keep anybody waiting.
  setTimeout(loop, before === null ? 500 : intervalMs);
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").textContent = paused ? "Resume" : "Pause";
  byId("pause").setAttribute("aria-pressed", String(paused));
});
byId("filter").addEventListener("input", () => {
  if (now !== null) render();
});
byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("weft-token", byId("token").value);
  byId("token").value = "";
  void refresh().catch(() => lost("no answer", false));
});
void loop();
