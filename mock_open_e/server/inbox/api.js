// Call the control API. Addresses are relative, so that each name below `/s/` has its own state.

export async function ask(path, {method = "GET", body} = {}) {
  const text = body === undefined ? undefined : JSON.stringify(body);
  let response;
  try {
    response = await fetch(`control/${path}`, {method, body: text, cache: "no-store"});
  } catch {
    throw new Error("The mock does not answer.");
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const errors = await response.json().then((answer) => answer.errors, () => [`status ${response.status}`]);
  throw Object.assign(new Error(`The mock refused this: ${errors.join("; ")}.`), {status: response.status});
}

// Return a query without empty values, with a question mark if there are any.
export function query(values) {
  const present = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return present.length ? `?${new URLSearchParams(present)}` : "";
}
