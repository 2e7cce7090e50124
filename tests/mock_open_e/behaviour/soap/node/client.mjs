// Calls every operation of the callback with the `soap` package, from the WSDL at the given address alone.
import soap from "soap";

const client = await soap.createClientAsync(process.argv[2]);
const flowInstanceID = 1068;
const principal = { userID: "joe01doe" };
const message = {
  added: "2026-02-19T07:57:06.123+01:00",
  attachments: [{ encodedData: "aGVq", filename: "å.pdf", size: 3 }],
  message: "Hej <b> åäö",
  userID: "",
  readReceiptEnabled: false,
};
const call = async (name, content) => (await client[`${name}Async`]({ flowInstanceID, ...content }))[0];

await call("setManagers", { managers: [principal], managerGroups: [{ name: "Grupp" }] });
const managers = await call("getManagers", {});
const answers = {
  addMessage: (await call("addMessage", { message, principal })).messageID,
  addInternalMessage: (await call("addInternalMessage", { message, principal })).messageID,
  addMessageAsOwner: (await call("addMessageAsOwner", { message, principal: { ...principal, citizenID: "c" } })).messageID,
  addEvent: (await call("addEvent", { date: message.added, message: "Hej", principal })).eventID,
  setStatus: (await call("setStatus", { statusID: 5, principal })).eventID,
  confirmDelivery: await call("confirmDelivery", { externalID: { ID: "1", System: "s" }, delivered: true }),
  setAttribute: await call("setAttribute", { name: "a", value: "b" }),
  getManagers: [managers.managers[0].userID, managers.managerGroups[0].name],
};
try {
  await call("deleteInstance", {});
} catch (error) {
  answers.deleteInstance = error.root.Envelope.Body.Fault.faultstring;
}
console.log(JSON.stringify(answers));
