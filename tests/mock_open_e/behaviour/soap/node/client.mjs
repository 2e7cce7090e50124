// Makes the given calls on one case with the `soap` package, from the WSDL at the given address alone.
import soap from "soap";

const [address, calls] = process.argv.slice(2);
const client = await soap.createClientAsync(address);
const answers = {};
for (const [name, content] of Object.entries(JSON.parse(calls))) {
  try {
    const [answer] = await client[`${name}Async`]({ flowInstanceID: 1068, ...content });
    const values = Object.values(answer ?? {});
    answers[name] = values.length > 1 ? answer : (values[0] ?? null);
  } catch (error) {
    answers[name] = error.root.Envelope.Body.Fault.faultstring;
  }
}
console.log(JSON.stringify(answers));
