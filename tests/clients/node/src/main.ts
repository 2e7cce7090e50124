// Calls every operation of every contract, and prints what became of it.
import { mock } from "./mock-open-e.js";
import { health } from "./operations.js";
import type { Given, Outcome } from "./outcomes.js";
import { subscriptions } from "./subscriptions.js";
import { webMessages } from "./web-messages.js";

declare const process: { argv: string[] };

const given: Given = JSON.parse(process.argv[2] ?? "{}");
const outcomes: Record<string, Outcome> = {};
for (const calls of [webMessages(given), subscriptions(given), health(given), mock(given)]) {
  for (const [operationId, call] of Object.entries<() => Promise<Outcome>>(calls)) outcomes[operationId] = await call();
}
console.log(JSON.stringify(outcomes));
