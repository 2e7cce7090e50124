// Copy texts to the clipboard.

import {announce} from "./live.js";

const SECONDS = 2;

// Make a button copy the text that `read` returns.
export function copyOnClick(button, read) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    const isCopied = await copy(read());
    button.textContent = isCopied ? "Copied" : "Not copied";
    announce(isCopied ? "Copied." : "The browser did not allow to copy.");
    setTimeout(() => { button.textContent = label; }, SECONDS * 1000);
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without HTTPS, other machines than this one have no clipboard interface.
  }
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus({preventScroll: true});
  return isCopied;
}

for (const button of document.querySelectorAll("[data-copy]")) {
  copyOnClick(button, () => document.getElementById(button.dataset.copy).textContent);
}
