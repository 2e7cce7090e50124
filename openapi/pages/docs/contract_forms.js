// The values of the forms: those that they contain at first, and those that are sent.

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

export function prepareContract(response) {
  if (!response.url.endsWith("/openapi.json")) return response;
  const contract = JSON.parse(response.text);
  prepareExamples(contract, contract.components.schemas);
  response.text = JSON.stringify(contract);
  return response;
}

// Swagger UI sends a part for a field without a value, and one with text for a file that is not chosen.
export function removeEmptyParts(request) {
  if (!(request.body instanceof FormData)) return request;
  for (const name of new Set(request.body.keys())) {
    const values = request.body.getAll(name).filter((value) => (fileLists.has(name) ? value instanceof File : value !== ""));
    request.body.delete(name);
    for (const value of values) request.body.append(name, value);
  }
  return request;
}
