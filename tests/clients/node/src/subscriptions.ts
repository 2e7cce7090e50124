import createClient from "openapi-fetch";

import type { components, operations, paths } from "../generated/subscriptions.js";
import { check, type Given, type Outcome } from "./outcomes.js";

type Errors = components["schemas"]["Errors"] | components["schemas"]["EventErrors"];
type Subscription = components["schemas"]["Subscription"];

const IDENTITY = { orgType: 1, orgCode: 101, entityType: 202 };
const ANOTHER_SYSTEM = "00000000-0000-4000-8000-000000000000";

function told(errors: Errors | undefined): string {
  return errors?.errors.map(({ index, field, errorCode }) => `${index} ${field} ${errorCode}`).join(", ") ?? "nothing";
}

export function subscriptions(given: Given): Record<keyof operations, () => Promise<Outcome>> {
  const baseUrl = given.service;
  const system = createClient<paths>({ baseUrl, headers: { "Client-Cert": given.certificate } });
  const publisher = createClient<paths>({ baseUrl, headers: { apikey: given.publishKey } });
  const systemIdentifier = given.system;
  const subscription: Subscription = {
    ...IDENTITY,
    webhookUrl: "/webhook",
    startDato: "2023-01-01T00:00:00",
    slutDato: null,
  };

  return {
    async syncWebhookAbonnementer() {
      const body = { systemIdentifier, abonnementer: [subscription] };
      const dry = await system.POST("/v1/abonnement/sync", { body, params: { query: { dryRun: true } } });
      const good = await system.POST("/v1/abonnement/sync", { body });
      check(dry.data?.oprettet === 1 && good.data?.oprettet === 1, "one is created");
      const wrong = { ...subscription, entityType: 205 };
      const bad = await system.POST("/v1/abonnement/sync", {
        body: { systemIdentifier, abonnementer: [subscription, wrong] },
      });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async hentAbonnementer() {
      const good = await system.GET("/v1/abonnement", { params: { query: { systemIdentifier } } });
      check(good.data?.abonnementer[0]?.webhookUrl === "/webhook", "what was set");
      const bad = await system.GET("/v1/abonnement", { params: { query: { systemIdentifier: ANOTHER_SYSTEM } } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async hentTilladteBeskedtyper() {
      const good = await system.GET("/v1/beskedtype/tilladte", { params: { query: { orgType: 1 } } });
      check(good.data?.beskedtyper.some((type) => type.entityType === 202) ?? false, "the allowed type");
      const bad = await system.GET("/v1/beskedtype/tilladte", { params: { query: { orgType: -1 } } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async opretBesked() {
      const event = { ...IDENTITY, aendringstype: 2, beskedId: crypto.randomUUID(), body: { navn: "Team" } } as const;
      const good = await publisher.POST("/v1/besked", { body: event });
      check(good.data?.abonnementer === 1, "it goes to one");
      const bad = await publisher.POST("/v1/besked", { body: { ...event, aendringstype: 3 } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async hentBeskedstatus() {
      const event = { ...IDENTITY, aendringstype: 1, beskedId: crypto.randomUUID() } as const;
      await publisher.POST("/v1/besked", { body: event });
      const path = { beskedId: event.beskedId };
      const good = await publisher.GET("/v1/besked/{beskedId}", { params: { path } });
      check(good.data?.venter === 1 && good.data.leveret === 0, "it waits");
      const unknown = { beskedId: crypto.randomUUID() };
      const bad = await publisher.GET("/v1/besked/{beskedId}", { params: { path: unknown } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async hentBeskeder() {
      const query = { systemIdentifier, status: "venter", limit: 10 } as const;
      const good = await system.GET("/v1/abonnement/beskeder", { params: { query } });
      const first: components["schemas"]["Delivery"] | undefined = good.data?.beskeder[0];
      check(first?.status === "venter" && first.aarsag === null, "the event waits");
      const bad = await system.GET("/v1/abonnement/beskeder", { params: { query: { ...query, limit: 0 } } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async hentKvitteringer() {
      const query = { systemIdentifier, fra: "2026-01-01T00:00:00+01:00", limit: 10 } as const;
      const good = await system.GET("/v1/abonnement/kvitteringer", { params: { query } });
      check(good.data?.kvitteringer.length === 0, "nothing is delivered yet");
      const bad = await system.GET("/v1/abonnement/kvitteringer", { params: { query: { ...query, til: "today" } } });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async genfremsendBeskeder() {
      const leveringIds = [crypto.randomUUID()];
      const good = await system.POST("/v1/abonnement/beskeder/genfremsend", { body: { systemIdentifier, leveringIds } });
      check(good.data?.ikkeParkerede[0] === leveringIds[0], "it is not parked");
      const bad = await system.POST("/v1/abonnement/beskeder/genfremsend", {
        body: { systemIdentifier, leveringIds: [] },
      });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async sendTestbesked() {
      const good = await system.POST("/v1/abonnement/testbesked", { body: { systemIdentifier, ...IDENTITY } });
      check(good.data?.leveringId !== undefined, "it is on its way");
      const bad = await system.POST("/v1/abonnement/testbesked", {
        body: { systemIdentifier, ...IDENTITY, orgCode: 102 },
      });
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
  };
}
