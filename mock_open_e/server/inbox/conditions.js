// The page of conditions: a form per instance. An update does not replace values that the visitor has changed.

import {ask} from "./api.js";
import {setText} from "./dom.js";
import {announce, stayLive} from "./live.js";

const DEFAULTS = {clockSeconds: 0, timeZone: null, staleSeconds: 0, takenIds: 0};
const forms = [...document.querySelectorAll(".conditions")];

const toText = (value) => (value === null ? "" : String(value));

function fill(form, conditions) {
  for (const name of Object.keys(DEFAULTS)) form.elements[name].value = toText(conditions[name]);
  delete form.dataset.changed;
}

function read(form) {
  const {clockSeconds, timeZone, staleSeconds, takenIds} = form.elements;
  return {
    clockSeconds: Number(clockSeconds.value),
    timeZone: timeZone.value || null,
    staleSeconds: Number(staleSeconds.value),
    takenIds: Number(takenIds.value),
  };
}

async function set(form, conditions) {
  const {instance} = form.dataset;
  const fault = form.querySelector("[role=alert]");
  try {
    fill(form, await ask(`conditions/${instance}`, {method: "PUT", body: conditions}));
    setText(fault, "");
    announce(`The conditions of the ${instance} instance are set.`);
  } catch (error) {
    setText(fault, error.message);
  }
  fault.hidden = !fault.textContent;
}

async function show() {
  for (const form of forms) {
    const conditions = await ask(`conditions/${form.dataset.instance}`);
    if (!form.dataset.changed) fill(form, conditions);
  }
}

for (const form of forms) {
  form.addEventListener("input", () => { form.dataset.changed = "yes"; });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    set(form, read(form));
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    set(form, DEFAULTS);
  });
}

stayLive(show);
