// The page of messages: cases, the messages of one of them, and a form to plant or answer one.

import {ask, query} from "./api.js";
import "./copying.js";
import {badge, byId, count, element, files, keepPosition, setText, showList, time} from "./dom.js";
import {refresh, stayLive} from "./live.js";
import {change, onSearch, readSearch} from "./search.js";
import {paragraph} from "./text.js";

const ROLES = {manager: "Case worker", owner: "Citizen", internal: "Case worker, internally"};
const MAX_FILES = 10;
const MAX_BYTES = 24_000_000;

const form = byId("plant");
const fields = form.elements;
let shown = null;
let answered = null;

// The name of a case in the address of the page.
const name = (instance, number) => `${instance}/${number}`;

function parse(text = "") {
  const [instance, number] = text.split("/");
  return /^\d+$/.test(number ?? "") ? {instance, number: Number(number)} : null;
}

async function show() {
  const {search, case: number, instance, fromTime, toTime} = readSearch();
  const limits = {search, fromTime, toTime};
  const isSearch = Boolean(search || fromTime || toTime);
  const cases = await ask(`cases${query({...limits, case: number, instance})}`);
  // The newest first; cases without messages keep their order.
  cases.sort((one, other) => (other.newest ?? "").localeCompare(one.newest ?? ""));
  const chosen = choose(cases);
  const whole = chosen && await readCase(chosen, limits);
  const current = whole && name(chosen.instance, chosen.number);
  showCases(cases, current, isSearch);
  const isLimited = isSearch || Boolean(number || instance);
  byId("no-cases").hidden = cases.length > 0;
  setText(byId("no-cases"), isLimited ? "No case matches the search." : "No case yet. It appears with its first message.");
  setText(byId("search-result"), isLimited ? `${count(cases.length, "case")} found` : "");
  byId("nothing").hidden = Boolean(whole) || isLimited;
  byId("case").hidden = !whole;
  if (whole) await keepPosition(byId("messages"), () => showCase(whole, isSearch));
  if (current !== shown) {
    shown = current;
    if (whole && !answered && !fields.message.value) {
      fields.case.value = String(chosen.number);
      fields.instance.value = chosen.instance;
    }
  }
}

// Return the case of the address, or else the one that is shown, or the first one.
function choose(cases) {
  const names = cases.map((each) => name(each.instance, each.flowInstanceID));
  // A message on another case does not change which case is shown, unless that has none.
  const isKept = cases[names.indexOf(shown)]?.messages > 0;
  return parse(new URLSearchParams(location.search).get("open") ?? (isKept ? shown : names[0]));
}

// Return a case with the messages that match, null if there is no such case.
async function readCase({instance, number}, limits) {
  try {
    return await ask(`cases/${name(instance, number)}${query(limits)}`);
  } catch (error) {
    if (error.status === 404 || error.status === 400) return null;
    throw error;
  }
}

function showCases(cases, current, isSearch) {
  showList(byId("cases"), cases, (each) => name(each.instance, each.flowInstanceID), {
    create: createCase,
    update: (node, each) => updateCase(node, each, isSearch),
    rest: byId("cases-title"),
  });
  for (const link of byId("cases").querySelectorAll("a")) {
    if (link.dataset.name === current) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function createCase({instance, flowInstanceID}) {
  const own = name(instance, flowInstanceID);
  const link = element("a", {"data-name": own, href: `./${query({open: own})}`},
    element("b", {}, `Case ${flowInstanceID}`), " ", element("span", {class: "instance"}, instance),
    element("span", {class: "about"}));
  link.addEventListener("click", async (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    change({open: own});
    stopAnswering();
    await refresh();
    // On a phone the case is below the list.
    byId("case-title").focus();
  });
  return element("li", {}, link);
}

function updateCase(node, each, isSearch) {
  const all = isSearch ? `${each.matching} of ${count(each.messages, "message")} found` : count(each.messages, "message");
  node.querySelector(".about").replaceChildren(all, ...(each.newest ? [", newest ", time(each.newest)] : []));
}

function showCase(whole, isSearch) {
  const {instance, flowInstanceID, status, family, managers, messages} = whole.case;
  setText(byId("case-title"), `Case ${flowInstanceID}, ${instance}`);
  const facts = [`Status ${status}`, family === null ? "" : `family ${family}`];
  facts.push(managers.length ? `managed by ${managers.join(", ")}` : "no manager");
  setText(byId("case-facts"), facts.filter(Boolean).join(", "));
  byId("case-calls").href = `calls${query({case: flowInstanceID, instance})}`;
  byId("case-fault").href = `faults${query({case: flowInstanceID, instance})}`;
  byId("case-reading").href = `${instance}/api/messageapi/getmessages/flowinstance/${flowInstanceID}`;
  showList(byId("messages"), whole.messages, (message) => `${instance}/${key(message)}`, {
    create: () => element("li"),
    update: (node, message) => node.replaceChildren(article(message)),
    rest: byId("case-title"),
  });
  const hidden = messages - whole.messages.length;
  byId("no-messages").hidden = hidden === 0 && messages > 0;
  setText(byId("no-messages"), messages === 0 ? "This case has no message."
    : `${count(hidden, "message")} of this case ${hidden === 1 ? "does" : "do"} not match the search.`);
  if (!isSearch && messages > 0) byId("no-messages").hidden = true;
}

// Internal messages have a number range of their own.
const key = (message) => `${message.kind === "internal" ? "internal" : "message"}-${message.messageID}`;

function article(message) {
  const sender = message.sender ?? message.userID;
  const notes = [`Message ${message.messageID}`, message.origin === "planted" ? "planted" : `sent with ${message.origin}`];
  if (message.readReceipt) notes.push("with read receipt");
  if (message.duplicateOf !== null) notes.push(`duplicate of message ${message.duplicateOf}`);
  const hasLostBreaks = message.origin !== "planted" && /(^|[^\r])\n/.test(message.message);
  const attachments = files(message.attachments);
  const answer = element("button", {type: "button", class: "small"}, "Answer",
    element("span", {class: "visually-hidden"}, ` message ${message.messageID}`));
  answer.addEventListener("click", () => startAnswering(message));
  return element("article", {class: message.kind, "aria-label": `Message ${message.messageID}`},
    element("header", {}, sender ? element("b", {}, sender) : null, " ", badge(ROLES[message.kind]), " ",
      element("span", {class: "quiet"}, time(message.added))),
    paragraph(message.message, message.kind === "manager"),
    attachments.length ? element("ul", {class: "files", "aria-label": "Files"}, ...attachments) : null,
    hasLostBreaks ? element("p", {class: "notice", "data-tone": "warn"},
      "Its line feeds have no carriage returns, so Open-E shows no line breaks.") : null,
    element("footer", {}, element("span", {class: "quiet"}, notes.join(" · ")), answer));
}

function startAnswering(message) {
  answered = message;
  const kind = message.kind === "manager" ? "owner" : message.kind === "owner" ? "manager" : "internal";
  const [instance, number] = shown.split("/");
  fields.case.value = number;
  fields.instance.value = instance;
  fields.kind.value = kind;
  setText(byId("plant-title"), `Answer message ${message.messageID}`);
  setText(byId("plant-submit"), "Plant answer");
  setText(byId("plant-outcome"), "");
  byId("plant-cancel").hidden = false;
  showKind();
  fields.message.focus();
  form.scrollIntoView({block: "nearest"});
}

function stopAnswering() {
  answered = null;
  setText(byId("plant-title"), "Plant a message");
  setText(byId("plant-submit"), "Plant message");
  byId("plant-cancel").hidden = true;
}

function showKind() {
  byId("plant-internal").hidden = fields.kind.value !== "internal";
}

async function encode(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let binary = "";
  for (let start = 0; start < bytes.length; start += 32_768) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 32_768));
  }
  return {filename: file.name, base64Data: btoa(binary)};
}

async function plant() {
  const chosen = [...fields.files.files];
  if (chosen.length > MAX_FILES) throw new Error(`Choose at most ${MAX_FILES} files.`);
  if (chosen.reduce((sum, file) => sum + file.size, 0) > MAX_BYTES) throw new Error("The files are larger than 24 MB in all.");
  const instance = fields.instance.value;
  const number = fields.case.value;
  const body = {
    // A form of Open-E sends line breaks with a carriage return too.
    message: fields.message.value.replace(/\r?\n/g, "\r\n"),
    kind: fields.kind.value,
    attachments: await Promise.all(chosen.map(encode)),
  };
  if (fields.userID.value) body.userID = fields.userID.value;
  const message = await ask(`cases/${instance}/${number}/messages`, {method: "POST", body});
  const outcome = answered ? `Message ${answered.messageID} is answered with` : "Planted";
  setText(byId("plant-outcome"), `${outcome} message ${message.messageID} on case ${number}.`);
  fields.message.value = "";
  fields.files.value = "";
  stopAnswering();
  change({open: name(instance, number)});
  await refresh();
  // The new message moves the form down: show the outcome, and the button above it.
  byId("plant-outcome").scrollIntoView({block: "nearest"});
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fault = byId("plant-fault");
  setText(byId("plant-outcome"), "");
  try {
    await plant();
    setText(fault, "");
  } catch (error) {
    setText(fault, error.message);
  }
  fault.hidden = !fault.textContent;
});
fields.kind.addEventListener("change", showKind);
byId("plant-cancel").addEventListener("click", () => {
  stopAnswering();
  fields.message.focus();
});

onSearch(refresh);
showKind();
stayLive(show);
