// Set the names and roles that screen readers need and Swagger UI lacks.

export function nameElements(element) {
  const name = (selector, find) => {
    for (const found of element.querySelectorAll(selector)) found.setAttribute("aria-label", find(found));
  };
  const count = (found) => [...found.closest(".json-schema-array").children].indexOf(found.parentElement) + 1;
  name("textarea.body-param__text", () => "Request body");
  name("select.examples-select-element", () => "Example");
  name("tr[data-param-name] :is(input, select, textarea)", (found) => found.closest("tr").dataset.paramName);
  name("tr[data-property-name] textarea", (found) => found.closest("tr").dataset.propertyName);
  name(".json-schema-form-item-remove", (found) => `Remove file ${count(found)}`);
  // The button that adds a file is after the list of files.
  const added = element.querySelector(".json-schema-form-item:last-of-type input:not([aria-label])");
  name(".json-schema-form-item input", (found) => `File ${count(found)}`);
  if (added && document.activeElement.matches(".json-schema-form-item-add")) added.focus();
  name(".close-modal", () => "Close");
  for (const found of element.querySelectorAll(".model-box-control:not([aria-label])"))
    if (!found.textContent.trim())
      found.setAttribute("aria-label", `Details of ${found.closest("tr")?.firstElementChild.textContent ?? "the schema"}`);
  // A table without this role is announced with its columns, and a button without another name by its text.
  for (const found of element.querySelectorAll("table[role=region]")) found.removeAttribute("role");
  for (const found of element.querySelectorAll(".modal-btn[aria-label]")) found.removeAttribute("aria-label");
  for (const found of element.querySelectorAll(".modal-ux h6")) found.setAttribute("aria-level", "5");
  const dialog = element.querySelector(".modal-ux:not([role])");
  if (dialog) {
    dialog.setAttribute("role", "dialog");
    dialog.setAttribute("aria-modal", "true");
    dialog.setAttribute("aria-label", "Credentials");
    (dialog.querySelector("input") ?? dialog.querySelector("button")).focus();
  }
}
