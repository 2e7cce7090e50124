// The page of faults: a form to plant one, and the planted ones.

import {ask} from "./api.js";
import {badge, byId, count, element, setText, showList} from "./dom.js";
import {announce, refresh, reportProblem, stayLive} from "./live.js";

const READING = "messageapi";
const form = byId("plant");
const fields = form.elements;

async function show() {
  const pending = await ask("faults");
  byId("no-faults").hidden = pending.length > 0;
  byId("remove-all").hidden = pending.length < 2;
  setText(byId("remove-all"), `Remove all ${pending.length} faults`);
  showList(byId("pending"), pending, (order) => order.number, {create: createOrder, update: updateOrder, rest: byId("pending-title")});
}

const titleOf = (fault) => byId(`kind-${fault}`).querySelector("th span").firstChild.textContent.trim();

function createOrder(order) {
  const remove = element("button", {type: "button", class: "small danger"}, "Remove",
    element("span", {class: "visually-hidden"}, ` fault ${order.number}, ${titleOf(order.fault)}`));
  remove.addEventListener("click", async () => {
    try {
      await ask(`faults/${order.number}`, {method: "DELETE"});
      announce(`Removed fault ${order.number}, ${titleOf(order.fault)}.`);
    } catch (error) {
      // It was used up in the meantime.
      if (error.status !== 404) reportProblem(error.message);
    }
    await refresh();
  });
  return element("li", {class: "card order"},
    element("div", {}, element("b", {}, titleOf(order.fault)), " ", element("code", {}, order.fault),
      element("p", {class: "which"}), element("p", {class: "quiet failed"})),
    remove);
}

function updateOrder(node, order) {
  const duration = takesSeconds(order.fault) ? ` ${count(order.seconds, "second")} each.` : "";
  setText(node.querySelector(".which"), `${describeCalls(order)}.${duration}`);
  setText(node.querySelector(".failed"), order.failed ? `${count(order.failed, "call")} so far` : "No call so far");
}

// Return which calls an order applies to: "The next 2 calls of addMessage on case 1068, external".
function describeCalls(order) {
  const every = order.every > 1;
  const calls = order.operation === READING ? "reads of the messageapi" : order.operation ? `calls of ${order.operation}` : "calls";
  const one = order.operation === READING ? "read of the messageapi" : order.operation ? `call of ${order.operation}` : "call";
  const which = every ? `${order.every}${ordinal(order.every)} ` : "";
  const where = order.flowInstanceID ? ` on case ${order.flowInstanceID}` : "";
  const instance = order.instance ? `, ${order.instance} instance` : "";
  if (order.times === null) return `Every ${which}${one}${where}${instance}`;
  if (every) return `Every ${which}${one}${where}${instance}, ${count(order.times, "time")}`;
  return `${order.times === 1 ? `The next ${one}` : `The next ${order.times.toLocaleString("en")} ${calls}`}${where}${instance}`;
}

const ordinal = (number) => (number % 100 > 10 && number % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][number % 10] ?? "th");

function readOrder() {
  const order = {fault: fields.fault.value, times: fields.always.checked ? null : Number(fields.times.value)};
  if (usesSeconds()) order.seconds = Number(fields.seconds.value);
  if (Number(fields.every.value) > 1) order.every = Number(fields.every.value);
  if (fields.operation.value) order.operation = fields.operation.value;
  if (fields.flowInstanceID.value) order.flowInstanceID = Number(fields.flowInstanceID.value);
  if (fields.instance.value) order.instance = fields.instance.value;
  return order;
}

const takesSeconds = (fault) => Boolean(fields.fault.querySelector(`[value="${fault}"]`).dataset.seconds);
const usesSeconds = () => takesSeconds(fields.fault.value);

function showForm() {
  const row = byId(`kind-${fields.fault.value}`);
  const [effect, cause] = [...row.querySelectorAll("td")].map((cell) => cell.textContent);
  const isStored = row.querySelector(".badge").dataset.tone === "warn";
  byId("explanation").replaceChildren(
    element("p", {}, element("b", {}, "The caller sees: "), effect),
    element("p", {}, element("b", {}, "When a real Open-E does this: "), cause),
    element("p", {}, badge(isStored ? "Stored" : "Not stored", isStored ? "warn" : undefined), " ",
      isStored ? "The message is on its case. A client that repeats the call creates a duplicate."
        : "The message is not on its case. A client may repeat the call."));
  byId("seconds-field").hidden = !usesSeconds();
  fields.seconds.disabled = !usesSeconds();
  fields.times.disabled = fields.always.checked;
  const calls = describeCalls(readOrder());
  setText(byId("summary"), `${calls}: ${titleOf(fields.fault.value).toLowerCase()}.`);
}

form.addEventListener("input", showForm);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fault = byId("plant-fault");
  const outcome = byId("plant-outcome");
  const order = readOrder();
  setText(outcome, "");
  try {
    await ask("faults", {method: "POST", body: order});
    setText(fault, "");
    setText(outcome, `Planted: ${titleOf(order.fault)}. ${describeCalls(order)}.`);
    await refresh();
    // On a phone the list is below the form, and Enter in a field leaves the button out of sight.
    outcome.scrollIntoView({block: "nearest"});
  } catch (error) {
    setText(fault, error.message);
  }
  fault.hidden = !fault.textContent;
});

byId("remove-all").addEventListener("click", async () => {
  try {
    await ask("faults", {method: "DELETE"});
    announce("All faults are removed.");
  } catch (error) {
    reportProblem(error.message);
  }
  await refresh();
  byId("pending-title").focus({preventScroll: true});
});

for (const button of document.querySelectorAll("[data-choose]")) {
  button.addEventListener("click", () => {
    fields.fault.value = button.dataset.choose;
    showForm();
    fields.fault.focus();
    byId("plant-title").scrollIntoView();
  });
}

const given = new URLSearchParams(location.search);
fields.flowInstanceID.value = given.get("case") ?? "";
fields.instance.value = given.get("instance") ?? "";
fields.operation.value = given.get("operation") ?? "";
showForm();
stayLive(show);
