import createClient from "openapi-fetch";

import type { components, operations, paths } from "../generated/web-messages.js";
import { check, type Given, type Outcome } from "./outcomes.js";

type Message = components["schemas"]["CreateWebMessageRequest"];

const NOBODY = "00000000-0000-4000-8000-000000000000";

// An error that nobody asked for is told by its status alone; of one that is there, the fields that were at fault.
function told(problem: components["schemas"]["Problem"] | undefined): string {
  const fields = problem?.violations?.map((violation) => violation.field);
  return fields?.join(" ") ?? problem?.detail ?? "nothing";
}

export function webMessages(given: Given): Record<keyof operations, () => Promise<Outcome>> {
  const client = createClient<paths>({ baseUrl: given.service, headers: { apikey: given.messagesKey } });
  const partyId = crypto.randomUUID();
  const message: Message = {
    partyId,
    message: "Hello",
    externalReferences: [{ key: "errand/number", value: partyId }],
    oepInstance: "internal",
    attachments: [{ fileName: "hello.txt", base64Data: "SGVsbG8K" }],
  };

  async function post(): Promise<string> {
    const { response } = await client.POST("/webmessages", { body: message });
    return response.headers.get("location")?.split("/").at(-1) ?? "no location";
  }

  return {
    async createWebMessage() {
      const good = await client.POST("/webmessages", {
        body: { message: { message: "Hello", externalReferences: message.externalReferences }, attachments: ["Hello"] },
        bodySerializer(body) {
          check("attachments" in body && typeof body.message === "object", "a form");
          const form = new FormData();
          form.append("message", new Blob([JSON.stringify(body.message)], { type: "application/json" }));
          for (const text of body.attachments ?? []) form.append("attachments", new Blob([String(text)]), "hello.txt");
          return form;
        },
      });
      const header = { "Idempotency-Key": partyId };
      const first = (await client.POST("/webmessages", { params: { header }, body: message })).response.headers;
      const second = (await client.POST("/webmessages", { params: { header }, body: message })).response.headers;
      check(second.get("Idempotency-Replayed") === "true" && first.get("Idempotency-Replayed") === null, "a replay");
      check(second.get("Location") === first.get("Location"), "the first location");
      const other = await client.POST("/webmessages", { params: { header }, body: { ...message, message: "Other" } });
      check(other.response.status === 422 && other.error?.title === "Unprocessable Content", "other content");
      const bad = await client.POST("/webmessages", { body: { ...message, message: "" } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async getWebMessageById() {
      const good = await client.GET("/webmessages/{id}", { params: { path: { id: await post() } } });
      const created: string | undefined = good.data?.created;
      check(created !== undefined && good.data?.oepInstance === "internal", "the message");
      check(good.data.attachments?.[0]?.base64Data === "SGVsbG8K", "its file");
      const bad = await client.GET("/webmessages/{id}", { params: { path: { id: NOBODY } } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async deleteWebMessageById() {
      const good = await client.DELETE("/webmessages/{id}", { params: { path: { id: await post() } } });
      const bad = await client.DELETE("/webmessages/{id}", { params: { path: { id: "no-id" } } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async getWebMessagesByPartyId() {
      await post();
      const path = "/webmessages/recipients/{partyId}";
      const good = await client.GET(path, { params: { path: { partyId }, query: { limit: 1 } } });
      const first: components["schemas"]["WebMessage"] | undefined = good.data?.[0];
      check(first?.partyId === partyId, "a message to the party");
      const bad = await client.GET(path, { params: { path: { partyId }, query: { limit: 0 } } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async getWebMessagesByExternalReference() {
      await post();
      const path = "/webmessages/external-references/{key}/{value}";
      const good = await client.GET(path, { params: { path: { key: "errand/number", value: partyId } } });
      check((good.data ?? []).length > 0, "a message about the errand");
      const bad = await client.GET(path, { params: { path: { key: "ab", value: partyId } } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async getWebMessageAttachment() {
      const id = await post();
      const found = await client.GET("/webmessages/{id}", { params: { path: { id } } });
      const attachmentId = found.data?.attachments?.[0]?.id ?? NOBODY;
      const path = "/webmessages/{id}/attachments/{attachmentId}";
      const good = await client.GET(path, { params: { path: { id, attachmentId } }, parseAs: "text" });
      check(good.data === "Hello\n", "the file");
      const bad = await client.GET(path, {
        params: { path: { id, attachmentId } },
        headers: { apikey: "nobody-knows-it" },
      });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
  };
}
