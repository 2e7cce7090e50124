// Mistakes in the use of the types: one that the compiler does not see is an error. Nobody runs this.
import createClient from "openapi-fetch";

import type { paths as Mock } from "../generated/mock-open-e.js";
import type { paths as Operations } from "../generated/operations.js";
import type { components, paths as Subscriptions } from "../generated/subscriptions.js";
import type { components as OfMessages, paths as WebMessages } from "../generated/web-messages.js";

type Message = OfMessages["schemas"]["CreateWebMessageRequest"];

const messages = createClient<WebMessages>();
const subscriptions = createClient<Subscriptions>();
const health = createClient<Operations>();
const mock = createClient<Mock>();

const externalReferences = [{ key: "flowInstanceId", value: "1068" }];
const event = { orgType: 1, orgCode: 101, entityType: 202 };

export async function mistakes(): Promise<void> {
  await messages.POST("/webmessages", { body: { message: "Hello", externalReferences } });
  // @ts-expect-error A misspelt field; in a body that is written within the call only a missing one would be seen.
  const misspelt: Message = { message: "Hello", externalReferences, sendr: {} };
  // @ts-expect-error Without a reference.
  await messages.POST("/webmessages", { body: { message: "Hello" } });
  // @ts-expect-error Another name than those of the two instances.
  await messages.POST("/webmessages", { body: { message: "Hello", externalReferences, oepInstance: "both" } });
  // @ts-expect-error A misspelt path.
  await messages.GET("/webmessage/{id}", { params: { path: { id: "" } } });
  // @ts-expect-error A misspelt path parameter.
  await messages.GET("/webmessages/{id}", { params: { path: { ID: "" } } });
  // @ts-expect-error A method that the path does not have.
  await messages.PUT("/webmessages/{id}", { params: { path: { id: "" } } });
  const { data, error } = await messages.GET("/webmessages/{id}", { params: { path: { id: "" } } });
  // @ts-expect-error Nobody has asked whether it is there.
  data.message;
  // @ts-expect-error A message may be without files.
  data?.attachments[0];
  // @ts-expect-error The status of a problem is an object.
  error?.status?.toFixed();

  // @ts-expect-error There is no fourth kind of change.
  await subscriptions.POST("/v1/besked", { body: { ...event, aendringstype: 4 } });
  // @ts-expect-error A query parameter that must be there.
  await subscriptions.GET("/v1/abonnement", { params: { query: {} } });
  // @ts-expect-error No number of an error.
  const code: components["schemas"]["Error"]["errorCode"] = 1;
  const entry: components["schemas"]["Subscription"] = { ...event, webhookUrl: "/", startDato: "" };
  // @ts-expect-error A property that is there is not undefined.
  entry.slutDato = undefined;

  // @ts-expect-error There is no such state.
  (await health.GET("/health/ready")).data?.status === "down";
  // @ts-expect-error A fault that the mock does not have.
  await mock.POST("/control/faults", { body: { fault: "Slower" } });
  // @ts-expect-error A number of a case that is a text.
  await mock.GET("/control/expect", { params: { query: { case: "1068" } } });

  return void [code, misspelt];
}
