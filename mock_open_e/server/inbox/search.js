// The search of a page: its values are those of the address, so that a search can be reloaded, linked and undone.

import {byId} from "./dom.js";

const NAMES = ["search", "case", "instance", "refused", "fromTime", "toTime"];
const HIDDEN = ["instance", "refused", "fromTime", "toTime"];
const form = byId("search");

// Return the values of the search for the control API, by name; absent ones are empty.
export function readSearch() {
  const values = new URLSearchParams(location.search);
  const found = Object.fromEntries(NAMES.map((name) => [name, values.get(name) ?? ""]));
  found.fromTime = toExactTime(found.fromTime, 0);
  found.toTime = toExactTime(found.toTime, 59_999);
  return found;
}

// Call `show` after each change of the search.
export function onSearch(show) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    change(Object.fromEntries(new FormData(form)));
    show();
  });
  form.addEventListener("reset", () => {
    change(Object.fromEntries(NAMES.map((name) => [name, ""])));
    // The browser empties the fields after this event.
    setTimeout(show);
  });
  window.addEventListener("popstate", () => { fill(); show(); });
  fill();
}

// Change values of the address; empty ones are removed.
export function change(values) {
  const address = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    if (value === "") address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  if (address.href !== location.href) history.pushState(null, "", address);
}

function fill() {
  const values = new URLSearchParams(location.search);
  for (const name of NAMES) {
    if (form.elements[name]) form.elements[name].value = values.get(name) ?? "";
  }
  if (HIDDEN.some((name) => values.get(name))) byId("search-more").open = true;
}

// Fields have local minutes; the control API takes exact times.
function toExactTime(text, milliseconds) {
  const moment = new Date(text);
  if (Number.isNaN(moment.getTime())) return "";
  return new Date(moment.getTime() + milliseconds).toISOString();
}
