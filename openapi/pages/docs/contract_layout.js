// The parts of Swagger UI that the page replaces.

export const plugin = ({ React: { createElement } }) => ({
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
