// Where the focus goes when Swagger UI changes the page.

function goTo(heading) {
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  heading.scrollIntoView();
}

// A call disables the button that has the focus, and Swagger UI shows the response below the command that repeats the
// call, mostly out of sight: move the focus to the response, and announce it.
function followCalls(element) {
  const announcement = document.createElement("p");
  announcement.className = "visually-hidden";
  announcement.setAttribute("role", "status");
  element.after(announcement);
  let called = null;
  let isCalling = false;
  element.addEventListener("click", ({ target }) => {
    if (target.closest(".execute")) called = target.closest(".opblock");
  });
  return () => {
    const button = called?.querySelector(".execute");
    if (!button) return;
    if (button.disabled) {
      isCalling = true;
    } else if (isCalling) {
      const table = called.querySelector(".live-responses-table");
      const status = table?.querySelector("tbody .response-col_status");
      if (document.activeElement === document.body) table ? goTo(table.previousElementSibling) : button.focus();
      announcement.textContent = status ? `Response ${status.innerText.trim()}` : "No response";
      called = null;
      isCalling = false;
    }
  };
}

// Return the function to call after each change of the page.
export function keepFocus(element) {
  element.addEventListener("click", ({ target }) => {
    const files = target.closest(".json-schema-form-item-remove")?.closest(".json-schema-array");
    if (files) requestAnimationFrame(() => files.querySelector(".json-schema-form-item-add").focus());
  });
  // The library within Swagger UI that scrolls to links of the page would leave the focus where it is.
  document.querySelector(".skip").classList.add("noZensmooth");
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape") element.querySelector(".close-modal")?.click();
  });
  return followCalls(element);
}
