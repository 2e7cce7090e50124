// These functions insert text as text nodes. Text from callers is never parsed as HTML.

const LINK = /\b(?:https?|ftp):\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]]/gi;

export function element(name, text, properties = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return Object.assign(made, properties);
}

// Return a message as Open-E displays it: only a carriage return breaks a line. With `hasLinks`, which is for messages
// from staff, addresses of http, https and ftp become links.
export function paragraph(text, hasLinks) {
  const shown = element("p");
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
    pieces.push(element("a", match[0], {href: url.href, target: "_blank", rel: "noopener noreferrer"}));
    end = match.index + match[0].length;
  }
  return [...pieces, line.slice(end)];
}
