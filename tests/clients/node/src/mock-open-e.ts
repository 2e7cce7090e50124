import createClient from "openapi-fetch";

import type { components, operations, paths } from "../generated/mock-open-e.js";
import { check, type Given, type Outcome } from "./outcomes.js";

const HELLO = "66a045b452102c59d840ec097d59d9467e13a3f34f6494e539ffd32c1bb35f18";
const ONE_CASE = { instance: "external", flowInstanceID: 1068 } as const;
const NO_CASE = { instance: "external", flowInstanceID: 7 } as const;

const ADD_MESSAGE = `
  <Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>
    <addMessage xmlns="http://www.oeplatform.org/version/1.0/schemas/integration/callback">
      <flowInstanceID>1068</flowInstanceID>
      <message><added>2026-02-19T07:57:06.123+01:00</added><message>Hello</message></message>
      <principal><userID>joe01doe</userID></principal>
    </addMessage>
  </Body></Envelope>`;

// A parameter that the contract does not know cannot be written in these types: it is put into the address.
const wrong = { querySerializer: () => "colour=red" };

function told(errors: components["schemas"]["Errors"] | undefined): string {
  return errors?.errors.join(", ") ?? "nothing";
}

function outcome(
  good: { response: Response },
  bad: { response: Response; error?: components["schemas"]["Errors"] },
): Outcome {
  return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
}

export function mock(given: Given): Record<keyof operations, () => Promise<Outcome>> {
  const name = crypto.randomUUID();
  const world = `${given.mock}/s/${name}`;
  const client = createClient<paths>({ baseUrl: world });

  // A call of Open-E's own contract.
  async function callback(body: string): Promise<void> {
    const headers = { "Content-Type": "text/xml;charset=UTF-8", SOAPAction: '""' };
    await fetch(`${world}/external/api/callback`, { method: "POST", headers, body });
  }

  return {
    async getHealth() {
      const good = await client.GET("/healthz");
      check(good.data?.status === "ok", "it answers");
      return outcome(good, await client.GET("/healthz", wrong));
    },
    async plantMessage() {
      const path = "/control/cases/{instance}/{flowInstanceID}/messages";
      const good = await client.POST(path, {
        params: { path: ONE_CASE },
        body: { message: "Hello", kind: "owner", attachments: [{ filename: "hello.txt", base64Data: "SGVsbG8K" }] },
      });
      check(good.data?.kind === "owner" && good.data.attachments[0]?.sha256 === HELLO, "it is planted");
      return outcome(good, await client.POST(path, { params: { path: NO_CASE }, body: { message: "Hello" } }));
    },
    async getCase() {
      const path = "/control/cases/{instance}/{flowInstanceID}";
      const good = await client.GET(path, { params: { path: ONE_CASE } });
      check(good.data?.messages[0]?.origin === "planted", "the case has the message");
      return outcome(good, await client.GET(path, { params: { path: NO_CASE } }));
    },
    async listCases() {
      const good = await client.GET("/control/cases", { params: { query: { instance: "external" } } });
      check(good.data?.[0]?.flowInstanceID === 1068, "the case");
      return outcome(good, await client.GET("/control/cases", wrong));
    },
    async getFile() {
      const path = "/control/files/{sha256}";
      const good = await client.GET(path, { params: { path: { sha256: HELLO } }, parseAs: "text" });
      check(good.data === "Hello\n", "the file");
      return outcome(good, await client.GET(path, { params: { path: { sha256: HELLO.replaceAll("6", "7") } } }));
    },
    async listControlMessages() {
      const good = await client.GET("/control/messages");
      check(good.data?.length === 0, "what was planted is not what was sent");
      return outcome(good, await client.GET("/control/messages", wrong));
    },
    async expectMessages() {
      await callback(ADD_MESSAGE);
      const query = { kind: "manager", count: 1, timeout: 0 } as const;
      const good = await client.GET("/control/expect", { params: { query } });
      check(good.data?.messages[0]?.message === "Hello", "it is there");
      const bad = await client.GET("/control/expect", { params: { query: { ...query, text: "nobody says it" } } });
      check(bad.error?.others?.[0]?.because[0] !== undefined, "why the other does not fit");
      return outcome(good, bad);
    },
    async clearControlMessages() {
      const good = await client.DELETE("/control/messages");
      return outcome(good, await client.DELETE("/control/messages", wrong));
    },
    async orderFault() {
      const good = await client.POST("/control/faults", { body: { fault: "Slow", times: null, seconds: 0 } });
      check(good.data?.times === null, "for all calls");
      return outcome(good, await client.POST("/control/faults", { body: { fault: "Slow", times: 0 } }));
    },
    async listFaults() {
      const good = await client.GET("/control/faults");
      check(good.data?.[0]?.number === 1 && good.data[0].fault === "Slow", "the order");
      return outcome(good, await client.GET("/control/faults", wrong));
    },
    async removeFault() {
      const path = "/control/faults/{number}";
      const params = { path: { number: 1 } };
      const good = await client.DELETE(path, { params });
      return outcome(good, await client.DELETE(path, { params }));
    },
    async listFaultKinds() {
      const good = await client.GET("/control/fault-kinds");
      check(good.data?.some((kind) => kind.fault === "Slow" && kind.usesSeconds) ?? false, "the explanation of a fault");
      return outcome(good, await client.GET("/control/fault-kinds", wrong));
    },
    async clearFaults() {
      const good = await client.DELETE("/control/faults");
      return outcome(good, await client.DELETE("/control/faults", wrong));
    },
    async setConditions() {
      const path = "/control/conditions/{instance}";
      const params = { path: { instance: "internal" } } as const;
      const good = await client.PUT(path, { params, body: { timeZone: "Europe/Stockholm", staleSeconds: 5 } });
      check(good.data?.timeZone === "Europe/Stockholm" && good.data.takenIds === 0, "the others are the defaults");
      return outcome(good, await client.PUT(path, { params, body: { timeZone: "Mars" } }));
    },
    async getConditions() {
      const path = "/control/conditions/{instance}";
      const params = { path: { instance: "internal" } } as const;
      const good = await client.GET(path, { params });
      check(good.data?.staleSeconds === 5, "the conditions that were set");
      return outcome(good, await client.GET(path, { params, ...wrong }));
    },
    async listCalls() {
      await callback("<Envelope/>");
      const good = await client.GET("/control/journal", { params: { query: { refused: true } } });
      check(good.data?.[0]?.refusal?.received !== undefined, "why it was refused");
      return outcome(good, await client.GET("/control/journal", { params: { query: { limit: 0 } } }));
    },
    async getCall() {
      const path = "/control/journal/{number}";
      const good = await client.GET(path, { params: { path: { number: 2 } } });
      check(good.data?.request.text === "<Envelope/>", "what was sent");
      return outcome(good, await client.GET(path, { params: { path: { number: 3 } } }));
    },
    async clearCalls() {
      const good = await client.DELETE("/control/journal");
      return outcome(good, await client.DELETE("/control/journal", wrong));
    },
    async getOverview() {
      const good = await client.GET("/control/overview", { params: { query: { since: 0, timeout: 0 } } });
      check(good.data?.strict === false, "how things stand");
      return outcome(good, await client.GET("/control/overview", { params: { query: { timeout: 301 } } }));
    },
    async listNames() {
      const good = await client.GET("/control/names");
      check(good.data?.includes(name) ?? false, "the name of this world");
      return outcome(good, await client.GET("/control/names", wrong));
    },
    async resetWorld() {
      const good = await client.POST("/control/reset");
      return outcome(good, await client.POST("/control/reset", wrong));
    },
  };
}
