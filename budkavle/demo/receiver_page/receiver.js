// Adds events as they come.

const list = document.getElementById("events");
const template = document.getElementById("event");
const PAUSE = 1000;
const KEPT = 100;

function build(event) {
  const item = template.content.firstElementChild.cloneNode(true);
  item.dataset.number = event.number;
  item.classList.add("new");
  for (const field of item.querySelectorAll("[data-field]")) field.textContent = event[field.dataset.field];
  item.querySelector("time").dateTime = event.iso;
  item.querySelector(".badge").dataset.tone = event.tone;
  return item;
}

async function update() {
  const latest = list.firstElementChild?.dataset.number ?? "0";
  const response = await fetch(`events?after=${latest}`);
  const { total, events } = await response.json();
  if (events.length) {
    for (const old of list.querySelectorAll(".new")) old.classList.remove("new");
    list.prepend(...events.map(build));
    for (const old of [...list.children].slice(KEPT)) old.remove();
    document.getElementById("count").textContent = `${total} ${total === 1 ? "event" : "events"} received`;
  }
  document.getElementById("empty").hidden = total > 0;
}

const live = document.getElementById("live");
const text = live.textContent;

async function run() {
  try {
    if (!document.hidden) await update();
    live.textContent = text;
  } catch {
    live.textContent = "The receiver does not answer. Does the demo still run?";
  }
  setTimeout(run, PAUSE);
}
run();
