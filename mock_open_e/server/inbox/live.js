// Keep a page up to date: wait for changes of the mock, and report them; reset the mock after a confirmation.

import {ask} from "./api.js";
import {byId, count, element, setText} from "./dom.js";

const WAIT_SECONDS = 20;
const INTERVAL_MILLISECONDS = 250;
const RETRY_MILLISECONDS = 1000;

let last = null;
let showAll = async () => {};

// Call `show` at once, and after each change of the mock.
export async function stayLive(show) {
  showAll = show;
  let revision = null;
  for (;;) {
    try {
      const overview = await ask(revision === null ? "overview" : `overview?since=${revision}&timeout=${WAIT_SECONDS}`);
      if (overview.revision !== revision) {
        await show();
        showState(overview);
        reportChange(overview);
      }
      revision = overview.revision;
      reportProblem("");
      await sleep(INTERVAL_MILLISECONDS);
    } catch (error) {
      reportProblem(`${error.message} This page tries again every second.`);
      revision = null;
      await sleep(RETRY_MILLISECONDS);
    }
  }
}

// Show the present state at once, for example after a search.
export async function refresh() {
  try {
    await showAll();
    reportProblem("");
  } catch (error) {
    reportProblem(error.message);
  }
}

// Let screen readers read a text to the visitor.
export function announce(text) {
  byId("announcement").textContent = text;
}

export function reportProblem(text) {
  setText(byId("problem"), text);
  byId("problem").hidden = !text;
}

const sleep = (milliseconds) => new Promise((resume) => setTimeout(resume, milliseconds));

function describe(overview) {
  const refused = overview.refused ? ` (${overview.refused} rejected)` : "";
  const parts = [count(overview.messages, "message"), count(overview.calls, "call") + refused];
  parts.push(overview.faults.length ? count(overview.faults.length, "planted fault") : "no planted fault");
  if (overview.strict) parts.push("strict mode");
  return parts.join(" · ");
}

function showState(overview) {
  const name = overview.name ? [element("b", {}, overview.name), ": "] : [];
  byId("state").replaceChildren(...name, describe(overview));
}

function reportChange(overview) {
  const before = last;
  last = overview;
  if (!before) return;
  const more = (name) => overview[name] - before[name];
  const changes = [];
  if (more("messages") > 0) changes.push(count(more("messages"), "new message"));
  if (more("calls") > 0) changes.push(count(more("calls"), "new call"));
  if (more("refused") > 0) changes.push(`${more("refused")} rejected`);
  if (more("messages") < 0 || more("calls") < 0) changes.push(`now ${describe(overview)}`);
  if (changes.length) announce(`${changes.join(", ")}.`);
}

const dialog = byId("reset-dialog");

byId("reset").addEventListener("click", () => {
  const {messages = 0, calls = 0, faults = []} = last ?? {};
  const all = [count(messages, "message"), count(calls, "call"), count(faults.length, "planted fault")];
  byId("reset-text").textContent =
    `This deletes ${all.slice(0, 2).join(", ")} and ${all[2]}, and restores the cases, numbers, faults and conditions of the start.`;
  dialog.returnValue = "no";
  dialog.showModal();
});

dialog.addEventListener("close", async () => {
  if (dialog.returnValue !== "yes") return;
  try {
    await ask("reset", {method: "POST"});
    announce("The mock is reset.");
  } catch (error) {
    reportProblem(error.message);
  }
});
