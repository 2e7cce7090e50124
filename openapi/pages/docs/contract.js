// Shows a contract with Swagger UI, and changes the values that its forms contain at first.

const element = document.getElementById("swagger-ui");
const { url, credentials } = element.dataset;
const isServed = "served" in element.dataset;
const REQUEST_IDS = ["x-request-id", "x-requestid"];
// The names of lists in forms, which are all of files.
const fileLists = new Set();

const createKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// Each load has its own idempotency key, since a fixed one is used after one call. Cursors and request ids are left out:
// the former are of another page, the service generates the latter. The JSON of a multipart form is that of its example,
// because Swagger UI generates JSON from the schema.
function prepareExamples(node, schemas) {
  if (node === null || typeof node !== "object") return;
  if (node.in === "header" && node.name === "Idempotency-Key") node.example = createKey();
  if (node.in === "header" && REQUEST_IDS.includes(node.name.toLowerCase())) delete node.example;
  if (node.in === "query" && node.name === "after") delete node.example;
  const form = node["multipart/form-data"];
  if (form && form.examples) {
    const resolve = (schema) => (schema.$ref ? schemas[schema.$ref.split("/").pop()] : schema);
    const { properties } = resolve(form.schema);
    for (const [name, example] of Object.entries(Object.values(form.examples)[0].value)) {
      const isList = Array.isArray(example);
      if (isList) fileLists.add(name);
      properties[name] = { ...resolve(properties[name]), example: isList ? [] : example };
    }
  }
  for (const child of Object.values(node)) prepareExamples(child, schemas);
}

function prepareContract(response) {
  if (!response.url.endsWith("/openapi.json")) return response;
  const contract = JSON.parse(response.text);
  prepareExamples(contract, contract.components.schemas);
  response.text = JSON.stringify(contract);
  return response;
}

// Swagger UI sends a part for a field without a value, and one with text for a file that is not chosen.
function removeEmptyParts(request) {
  if (!(request.body instanceof FormData)) return request;
  for (const name of new Set(request.body.keys())) {
    const values = request.body.getAll(name).filter((value) => (fileLists.has(name) ? value instanceof File : value !== ""));
    request.body.delete(name);
    for (const value of values) request.body.append(name, value);
  }
  return request;
}

// Set the names and roles that screen readers need and Swagger UI lacks.
function nameElements() {
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

// A call disables the button that has the focus, and Swagger UI shows the response below the command that repeats the
// call, mostly out of sight: move the focus to the response, and announce it.
const announcement = document.createElement("p");
announcement.className = "visually-hidden";
announcement.setAttribute("role", "status");
element.after(announcement);
let called = null;
let isCalling = false;
function goTo(heading) {
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  heading.scrollIntoView();
}
function reportResponse() {
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
}

new MutationObserver(() => {
  nameElements();
  reportResponse();
}).observe(element, { childList: true, subtree: true, attributeFilter: ["disabled"] });
element.addEventListener("click", ({ target }) => {
  if (target.closest(".execute")) called = target.closest(".opblock");
  const files = target.closest(".json-schema-form-item-remove")?.closest(".json-schema-array");
  if (files) requestAnimationFrame(() => files.querySelector(".json-schema-form-item-add").focus());
});
// The library within Swagger UI that scrolls to links of the page would leave the focus where it is.
document.querySelector(".skip").classList.add("noZensmooth");
element.addEventListener("keydown", (event) => {
  if (event.key === "Escape") element.querySelector(".close-modal")?.click();
});

const plugin = ({ React: { createElement } }) => ({
  wrapComponents: {
    // Their texts would be "Add string item" and "-"; all lists in forms are of files.
    Button: (Button) => (values) => {
      const end = values.className?.match(/json-schema-form-item-(add|remove)/)?.[1];
      return createElement(Button, end ? { ...values, children: { add: "Add file", remove: "Remove" }[end] } : values);
    },
  },
  components: {
    // The path of an operation is within the button that opens it, so it cannot be a link.
    DeepLink: ({ text }) => createElement("span", null, text),
    // Lists of files look for it, and report an error without it.
    JsonSchema_string_binary: (values) => createElement(values.getComponent("JsonSchema_string"), values),
    // The page has the title, the downloads and the main element; there is one server.
    PageLayout: ({ getComponent, specSelectors }) => {
      const create = (name, ...more) => createElement(getComponent(name, ...more));
      const status = specSelectors.loadingStatus();
      const content =
        status === "success"
          ? [
              create("errors", true),
              create("InfoContainer", true),
              specSelectors.securityDefinitions() ? create("AuthorizeBtnContainer", true) : null,
              create("operations", true),
              create("Models", true),
            ]
          : [status === "failed" ? create("errors", true) : createElement("p", null, "Loading the operations …")];
      return createElement("div", { className: "swagger-ui" }, create("SvgAssets"), ...content);
    },
  },
});

const ui = SwaggerUIBundle({
  url,
  domNode: element,
  deepLinking: true,
  validatorUrl: null,
  // It would colour the text without regard to the colours of the page.
  syntaxHighlight: false,
  supportedSubmitMethods: isServed ? undefined : [],
  plugins: [plugin],
  layout: "PageLayout",
  responseInterceptor: prepareContract,
  requestInterceptor: removeEmptyParts,
  onComplete: () => {
    for (const [scheme, value] of Object.entries(JSON.parse(credentials))) ui.preauthorizeApiKey(scheme, value);
  },
});
