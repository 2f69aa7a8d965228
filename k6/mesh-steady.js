/** A fixed rate over the mesh: each answer of web takes two calls through pairs of sidecars, and a denied call stays denied. */

import { ask, steadyLoad } from "./demo.js";

export const options = steadyLoad(100, 400);

export default function () {
  if (Math.random() < 0.9) ask("/", [200], { contains: "payments" });
  else ask("/forbidden", [403], { contains: "forbidden" });
}
