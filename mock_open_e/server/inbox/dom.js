// Build and update elements. An update keeps the elements of unchanged items, so that focus and selection stay.

export const byId = (id) => document.getElementById(id);

// Return an element with attributes and children. `children` are elements and texts; absent ones are left out.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Make the children of a list equal to the items. `create` returns the element of a new item, and `update` changes that
// of an item whose data differ. If the focused element disappears, the focus moves to the item that follows, or `rest`.
export function showList(list, items, key, {create, update = () => {}, rest = null}) {
  const present = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const keys = new Set(items.map((item) => String(key(item))));
  let orphan = false;
  let after = null;
  for (const [name, node] of present) {
    if (keys.has(name)) continue;
    if (node.contains(document.activeElement)) {
      orphan = true;
      after = node.nextElementSibling ?? node.previousElementSibling;
    }
    node.remove();
  }
  let next = list.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let node = present.get(name);
    if (node && node === next) next = node.nextElementSibling;
    else if (node) move(list, node, next);
    const state = JSON.stringify(item);
    if (!node) {
      node = create(item);
      node.dataset.key = name;
      list.insertBefore(node, next);
      update(node, item);
    } else if (node.dataset.state !== state) {
      update(node, item);
    }
    node.dataset.state = state;
  }
  if (orphan) (after?.querySelector("button, a, summary") ?? rest)?.focus({preventScroll: true});
}

// Moving an element takes the focus from it.
function move(list, node, next) {
  const focused = node.contains(document.activeElement) ? document.activeElement : null;
  list.insertBefore(node, next);
  focused?.focus({preventScroll: true});
}

// Run an update without moving what the visitor looks at: the focused element, or else the first visible one of `list`.
export async function keepPosition(list, run) {
  const focused = document.activeElement;
  const isInside = list.contains(focused);
  const anchor = isInside || window.scrollY === 0
    ? focused
    : [...list.children].find((node) => node.getBoundingClientRect().bottom > 0);
  const before = anchor?.getBoundingClientRect().top;
  await run();
  if (!anchor?.isConnected || (!isInside && window.scrollY === 0)) return;
  const moved = anchor.getBoundingClientRect().top - before;
  if (moved) window.scrollBy({top: moved, behavior: "instant"});
}

const DAY_AND_TIME = new Intl.DateTimeFormat("en-GB", {dateStyle: "medium", timeStyle: "medium"});
const TIME = new Intl.DateTimeFormat("en-GB", {timeStyle: "medium"});

// Return a time in the visitor's zone, without the day if it is today, and the given one as a tooltip. A text that is
// not a time is shown unchanged.
export function time(text) {
  const moment = new Date(text);
  if (Number.isNaN(moment.getTime())) return element("span", {}, text);
  const isToday = moment.toDateString() === new Date().toDateString();
  return element("time", {datetime: moment.toISOString(), title: text}, (isToday ? TIME : DAY_AND_TIME).format(moment));
}

export function badge(text, tone) {
  return element("span", {class: "badge", "data-tone": tone}, text);
}

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// Return links to the stored files of a message or call.
export function files(all) {
  return all.map((file) => {
    const label = `${file.filename} (${count(file.size, "byte")})`;
    if (!file.isKept) return element("li", {}, `${label}, no longer stored`);
    const name = encodeURIComponent(file.filename.slice(0, 255) || "file");
    return element("li", {}, element("a", {href: `control/files/${file.sha256}?name=${name}`, download: ""}, label));
  });
}
