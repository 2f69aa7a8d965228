/** The dashboard's files, read once. */

import { readFileSync } from "node:fs";

interface Asset {
  readonly type: string;
  readonly body: string;
}

const asset = (file: string, type: string): Asset => ({
  type,
  body: readFileSync(new URL(`page/${file}`, import.meta.url), "utf8"),
});

/** Path to file. They come from the package: the dashboard works without a network. */
export const pageAssets: ReadonlyMap<string, Asset> = new Map([
  ["/", asset("index.html", "text/html; charset=utf-8")],
  ["/dashboard.js", asset("dashboard.js", "text/javascript; charset=utf-8")],
  ["/dashboard.css", asset("dashboard.css", "text/css; charset=utf-8")],
  ["/icon.svg", asset("icon.svg", "image/svg+xml")],
]);
