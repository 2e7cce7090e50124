// Texts of callers are inserted as text nodes and never parsed as HTML.

import {element} from "./dom.js";

const LINK = /\b(?:https?|ftp):\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]]/gi;
const TAG = /<[^<>]*>/g;

// Return a message as Open-E displays it: only a carriage return breaks a line. With `hasLinks`, which is for messages
// from staff, addresses of http, https and ftp become links.
export function paragraph(text, hasLinks) {
  const shown = element("p", {class: "text"});
  text.split("\r").forEach((line, index) => {
    if (index) shown.append(element("br"));
    shown.append(...(hasLinks ? linked(line) : [line]));
  });
  return shown;
}

function linked(line) {
  const pieces = [];
  let end = 0;
  for (const match of line.matchAll(LINK)) {
    const url = URL.canParse(match[0]) ? new URL(match[0]) : null;
    if (!url || !["http:", "https:", "ftp:"].includes(url.protocol)) continue;
    pieces.push(line.slice(end, match.index));
    pieces.push(element("a", {href: url.href, target: "_blank", rel: "noopener noreferrer"}, match[0]));
    end = match.index + match[0].length;
  }
  return [...pieces, line.slice(end)];
}

// Return code with XML whose tags stand out from its values.
export function markup(text) {
  const code = element("code");
  let end = 0;
  for (const match of text.matchAll(TAG)) {
    code.append(text.slice(end, match.index), element("span", {class: "tag"}, match[0]));
    end = match.index + match[0].length;
  }
  code.append(text.slice(end));
  return code;
}
