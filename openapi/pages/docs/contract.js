// Shows a contract with Swagger UI.

import { keepFocus } from "./contract_focus.js";
import { prepareContract, removeEmptyParts } from "./contract_forms.js";
import { plugin } from "./contract_layout.js";
import { nameElements } from "./contract_names.js";

const element = document.getElementById("swagger-ui");
const { url, credentials } = element.dataset;
const isServed = "served" in element.dataset;
const reportResponse = keepFocus(element);

new MutationObserver(() => {
  nameElements(element);
  reportResponse();
}).observe(element, { childList: true, subtree: true, attributeFilter: ["disabled"] });

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
