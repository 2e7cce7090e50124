import {element, paragraph} from "./text.js";

const byId = (id) => document.getElementById(id);
const KINDS = {manager: "Staff", owner: "The citizen", internal: "Staff, internal; not visible to the citizen"};
const JOURNAL = 50;
let chosen = null;

async function ask(path, options) {
  const response = await fetch(`control/${path}`, {cache: "no-store", ...options});
  if (!response.ok) throw new Error((await response.json()).errors.join("; "));
  return response.status === 204 ? null : response.json();
}

function file(of) {
  const shown = element("li");
  const label = `${of.filename} (${of.size} bytes)`;
  if (of.isKept) {
    const href = `control/files/${of.sha256}?name=${encodeURIComponent(of.filename.slice(0, 255) || "file")}`;
    shown.append(element("a", label, {href, download: ""}));
  } else {
    shown.append(element("span", `${label}, no longer stored`));
  }
  return shown;
}

function article(message) {
  const shown = element("article", undefined, {className: message.kind});
  const sender = message.sender ?? (message.kind === "manager" ? "" : KINDS[message.kind]);
  shown.append(element("header", [sender, message.added].filter(Boolean).join(", ")));
  shown.append(paragraph(message.message, message.kind === "manager"));
  if (message.attachments.length) {
    const files = element("ul");
    files.append(...message.attachments.map(file));
    shown.append(files);
  }
  const notes = [`message ${message.messageID}`, KINDS[message.kind], message.origin];
  if (message.duplicateOf !== null) notes.push(`duplicate of message ${message.duplicateOf}`);
  if (/(^|[^\r])\n/.test(message.message)) notes.push("its line feeds have no carriage returns, so Open-E shows no line breaks");
  shown.append(element("footer", notes.join(" · ")));
  return shown;
}

function showCases(cases) {
  if (!chosen && cases.length) chosen = {instance: cases[0].instance, number: cases[0].flowInstanceID};
  byId("no-cases").hidden = cases.length > 0;
  byId("cases").replaceChildren(...cases.map((each) => {
    const item = element("li");
    const button = element("button", `${each.flowInstanceID} ${each.instance} (${each.messages})`, {type: "button"});
    const isChosen = chosen.instance === each.instance && chosen.number === each.flowInstanceID;
    button.setAttribute("aria-current", String(isChosen));
    button.addEventListener("click", () => {
      chosen = {instance: each.instance, number: each.flowInstanceID};
      refresh().catch(fail);
    });
    item.append(button);
    return item;
  }));
}

async function showCase(cases) {
  const isThere = chosen && cases.some((each) => each.instance === chosen.instance && each.flowInstanceID === chosen.number);
  if (!isThere) {
    chosen = null;
    byId("title").textContent = "No case selected";
    byId("messages").replaceChildren();
    return;
  }
  const {instance, number} = chosen;
  const whole = await ask(`cases/${instance}/${number}`);
  if (chosen?.instance !== instance || chosen?.number !== number) return;
  const {status, managers} = whole.case;
  const by = managers.length ? `, managed by ${managers.join(", ")}` : "";
  byId("title").textContent = `Case ${number}, ${instance}: status ${status}${by}`;
  byId("messages").replaceChildren(...whole.messages.map(article));
}

function journalEntry(call, open) {
  const item = element("li");
  const details = element("details", undefined, {className: call.refusal ? "refused" : "accepted"});
  details.dataset.number = call.number;
  const about = [call.operation ?? call.method, call.flowInstanceID, call.status || "ended", call.fault];
  details.append(element("summary", `${call.number}. ${call.instance}: ${about.filter((part) => part !== null).join(" ")}`));
  if (call.refusal) {
    details.append(element("p", `Received: ${call.refusal.received}`), element("p", `Accepted: ${call.refusal.accepted}`));
  }
  details.append(...call.notes.map((note) => element("p", `Ignored by Open-E: ${note}`)));
  const files = element("ul");
  files.append(...call.files.map(file));
  const raw = element("div");
  details.append(files, raw);
  details.addEventListener("toggle", () => {
    if (details.open && !raw.childNodes.length) showRaw(call.number, raw).catch(fail);
  });
  details.open = open.has(String(call.number));
  item.append(details);
  return item;
}

async function showRaw(number, raw) {
  const whole = await ask(`journal/${number}`);
  const cut = (sent) => (sent.isCut ? " (truncated)" : "");
  raw.replaceChildren(
    element("div", `${whole.call.method} ${whole.call.url}${cut(whole.request)}`, {className: "small"}),
    element("pre", whole.request.text),
    element("div", `Response ${whole.call.status}${cut(whole.answer)}`, {className: "small"}),
    element("pre", whole.answer.text),
  );
}

function showJournal(calls) {
  const open = new Set([...document.querySelectorAll("#journal details[open]")].map((each) => each.dataset.number));
  byId("journal").replaceChildren(...calls.reverse().map((call) => journalEntry(call, open)));
}

function showFaults(overview) {
  if (!byId("faults").childNodes.length) {
    byId("faults").replaceChildren(...overview.faultNames.map((name) => {
      const button = element("button", name, {type: "button"});
      button.addEventListener("click", () => {
        ask("faults", {method: "POST", body: JSON.stringify({fault: name})}).catch(fail);
      });
      return button;
    }));
  }
  const orders = overview.faults.map((order) => `${order.fault} × ${order.times ?? "always"}`);
  byId("orders").textContent = orders.length ? `Ordered: ${orders.join(", ")}` : "No faults ordered.";
}

async function refresh(overview) {
  const [cases, calls] = await Promise.all([ask("cases"), ask(`journal?limit=${JOURNAL}`)]);
  showCases(cases);
  showJournal(calls);
  await showCase(cases);
  if (!overview) return;
  showFaults(overview);
  byId("name").textContent = overview.name;
  const strict = overview.strict ? ", strict" : "";
  byId("state").textContent =
    `${overview.messages} messages, ${overview.calls} calls, ${overview.refused} of them rejected${strict}`;
}

function fail(error) {
  byId("state").textContent = `Error: ${error.message}`;
}

async function live() {
  let revision = null;
  for (;;) {
    try {
      const overview = await ask(revision === null ? "overview" : `overview?since=${revision}&timeout=20`);
      if (overview.revision !== revision) await refresh(overview);
      revision = overview.revision;
    } catch (error) {
      fail(error);
      revision = null;
      await new Promise((resume) => setTimeout(resume, 1000));
    }
  }
}

byId("no-faults").addEventListener("click", () => ask("faults", {method: "DELETE"}).catch(fail));
byId("reset").addEventListener("click", () => ask("reset", {method: "POST"}).catch(fail));
live();
