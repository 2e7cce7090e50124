// Adds events as they come, and hides those that do not match the search.

const list = document.getElementById("events");
const template = document.getElementById("event");
const INTERVAL_MILLISECONDS = 1000;
const MAX_EVENTS = 100;

function build(event) {
  const item = template.content.firstElementChild.cloneNode(true);
  item.dataset.number = event.number;
  item.classList.add("new");
  for (const field of item.querySelectorAll("[data-field]")) field.textContent = event[field.dataset.field];
  item.querySelector("time").dateTime = event.iso;
  item.querySelector(".badge").dataset.tone = event.tone;
  return item;
}

const text = document.getElementById("text");

function filter() {
  const wanted = text.value.trim().toLowerCase();
  const items = [...list.children];
  for (const item of items) item.hidden = !item.textContent.toLowerCase().includes(wanted);
  const found = items.filter((item) => !item.hidden).length;
  document.getElementById("found").textContent = wanted ? `${found} of ${items.length} found` : "";
}

text.addEventListener("input", filter);

async function update() {
  const latest = list.firstElementChild?.dataset.number ?? "0";
  const response = await fetch(`events?after=${latest}`);
  const { total, events } = await response.json();
  if (events.length) {
    for (const old of list.querySelectorAll(".new")) old.classList.remove("new");
    list.prepend(...events.map(build));
    for (const old of [...list.children].slice(MAX_EVENTS)) old.remove();
    filter();
    document.getElementById("count").textContent = `${total} ${total === 1 ? "event" : "events"} received`;
  }
  document.getElementById("empty").hidden = total > 0;
  document.getElementById("find").hidden = total === 0;
}

const live = document.getElementById("live");
const usual = live.textContent;

async function run() {
  try {
    if (!document.hidden) await update();
    live.textContent = usual;
  } catch {
    live.textContent = "The receiver does not answer. Does the demo still run?";
  }
  setTimeout(run, INTERVAL_MILLISECONDS);
}
run();
