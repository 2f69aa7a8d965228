/** A fixed rate through the gateway, mostly with a key: nothing fails, and the slow ones are not slow. */

import { ask, steadyLoad } from "./demo.js";

export const options = steadyLoad(200, 250);

export default function () {
  const dice = Math.random();
  if (dice < 0.6) ask("/orders", [200], { withKey: true, contains: "shuttle" });
  else if (dice < 0.9) ask("/payments", [200], { withKey: true, contains: "paid" });
  else if (dice < 0.95) ask("/orders", [401]);
  else ask("/admin", [403], { withKey: true });
}
