// The page of calls: the newest ones, and for an open one its reason, its XML and that of its response.

import {ask, query} from "./api.js";
import {copyOnClick} from "./copying.js";
import {badge, byId, count, element, files, keepPosition, setText, showList, time} from "./dom.js";
import {refresh, reportProblem, stayLive} from "./live.js";
import {onSearch, readSearch} from "./search.js";
import {markup} from "./text.js";

const PAGE = 50;
// The maximum limit of the control API.
const MAX_LIMIT = 1000;
let limit = PAGE;

async function show() {
  const search = readSearch();
  const isLimited = Object.values(search).some(Boolean);
  // One more than shown, to know whether there are older ones.
  const found = await ask(`journal${query({...search, limit: Math.min(limit + 1, MAX_LIMIT)})}`);
  const calls = found.slice(-limit).reverse();
  byId("nothing").hidden = calls.length > 0 || isLimited;
  byId("no-match").hidden = calls.length > 0 || !isLimited;
  byId("older").hidden = found.length <= limit;
  const more = found.length > limit ? "more than " : "";
  setText(byId("search-result"), isLimited ? `${more}${count(calls.length, "call")} found` : "");
  await keepPosition(byId("calls"), () => showList(byId("calls"), calls, (call) => call.number, {
    create: createCall, update: updateCall, rest: byId("calls-title"),
  }));
}

function describeOutcome(call) {
  const status = call.status ? `HTTP ${call.status}` : "no response";
  if (call.fault) return [`Fault ${call.fault}, ${status}`, "warn"];
  return call.refusal ? [`Rejected, ${status}`, "bad"] : [`Accepted, ${status}`, "good"];
}

function createCall(call) {
  const [outcome, tone] = describeOutcome(call);
  const content = element("div", {class: "content"});
  const details = element("details", {class: "card call"},
    element("summary", {},
      element("span", {class: "what"}, element("b", {}, call.operation ?? `${call.method} ${new URL(call.url).pathname}`),
        call.flowInstanceID === null ? null : ` on case ${call.flowInstanceID}`),
      badge(outcome, tone),
      element("span", {class: "quiet"}, `${call.number} · ${call.instance} · `, time(call.at))),
    content);
  details.addEventListener("toggle", () => {
    if (details.open && !content.childNodes.length) {
      open(call.number, content).catch((error) => reportProblem(error.message));
    }
  });
  return element("li", {}, details);
}

// Only whether files are still stored can change.
function updateCall(node, call) {
  const list = node.querySelector(".files");
  if (list) list.replaceChildren(...files(call.files));
}

async function open(number, content) {
  const whole = await ask(`journal/${number}`);
  const {call, request, answer} = whole;
  const facts = {
    Address: `${call.method} ${call.url}${call.query ? `?${call.query}` : ""}`,
    "Message stored": call.messageID === null ? null : `message ${call.messageID}`,
    Sender: call.userID,
  };
  const list = element("dl", {class: "facts"});
  for (const [name, value] of Object.entries(facts)) {
    if (value !== null) list.append(element("dt", {}, name), element("dd", {}, value));
  }
  if (call.files.length) {
    list.append(element("dt", {}, "Files"), element("dd", {}, element("ul", {class: "files"}, ...files(call.files))));
  }
  const links = element("p", {class: "actions"});
  if (call.flowInstanceID > 0) {
    const of = `${call.instance}/${call.flowInstanceID}`;
    links.append(element("a", {href: `./${query({open: of})}`}, `Messages of case ${call.flowInstanceID}`),
      element("a", {href: `faults${query({case: call.flowInstanceID, instance: call.instance, operation: call.operation})}`},
        "Let the next such call fail"));
  }
  content.replaceChildren(
    ...explain(call),
    list,
    links,
    ...part("Request", request, call.requestBytes, number),
    ...part("Response", answer, call.answerBytes, number, call.status),
  );
}

function explain(call) {
  const reasons = [];
  if (call.fault) {
    reasons.push(element("p", {class: "notice", "data-tone": "warn"}, `The planted fault ${call.fault} made this call fail. `,
      element("a", {href: `faults#kind-${call.fault}`}, "See what it does"), "."));
  } else if (call.refusal) {
    reasons.push(element("div", {class: "notice", "data-tone": "bad"},
      element("p", {}, element("b", {}, "Why it was rejected: "), call.refusal.received, "."),
      element("p", {}, element("b", {}, "What would be accepted: "), call.refusal.accepted, ".")));
  }
  if (call.notes.length) {
    reasons.push(element("div", {class: "notice", "data-tone": "info"},
      element("p", {}, element("b", {}, "Open-E ignores this silently; strict mode rejects it:")),
      element("ul", {}, ...call.notes.map((note) => element("li", {}, note)))));
  }
  return reasons;
}

function part(title, sent, bytes, number, status) {
  const label = `${title} of call ${number}`;
  const copy = element("button", {type: "button", class: "small"}, `Copy ${title.toLowerCase()}`);
  copyOnClick(copy, () => sent.text);
  const text = sent.formatted ?? sent.text;
  const size = count(bytes, "byte") + (sent.isCut ? `, the first ${count(sent.text.length, "character")} are stored` : "");
  const headers = Object.entries(sent.headers).map(([name, value]) => `${name}: ${value}`).join("\n");
  const heading = status === undefined ? title : `${title}: ${status ? `HTTP ${status}` : "the connection was closed"}`;
  return [
    element("div", {class: "part"}, element("h3", {}, heading), element("span", {class: "quiet"}, size), text ? copy : null),
    headers ? element("details", {}, element("summary", {}, "Headers"), element("pre", {}, element("code", {}, headers))) : null,
    text ? element("pre", {class: "xml", tabindex: "0", role: "region", "aria-label": label}, markup(text))
      : element("p", {class: "quiet"}, "Without content."),
  ].filter(Boolean);
}

byId("older").addEventListener("click", () => {
  limit += PAGE;
  refresh();
});
onSearch(() => {
  limit = PAGE;
  return refresh();
});
stayLive(show);
