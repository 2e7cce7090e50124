import createClient from "openapi-fetch";

import type { components, operations, paths } from "../generated/operations.js";
import { check, type Given, type Outcome } from "./outcomes.js";

// A parameter that the contract does not know cannot be written in these types: it is put into the address.
const wrong = { querySerializer: () => "verbose=1" };

function told(error: components["schemas"]["Problem"] | components["schemas"]["Readiness"] | undefined): string {
  if (error === undefined || "components" in error) return "nothing";
  return error.violations?.map((violation) => violation.field).join(" ") ?? "nothing";
}

export function health(given: Given): Record<keyof operations, () => Promise<Outcome>> {
  const client = createClient<paths>({ baseUrl: given.service });
  return {
    async getHealthLive() {
      const good = await client.GET("/health/live");
      check(good.data?.status === "UP", "it lives");
      const bad = await client.GET("/health/live", wrong);
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async getHealthReady() {
      const good = await client.GET("/health/ready");
      check(good.data?.components.database === "UP", "it is ready");
      const bad = await client.GET("/health/ready", wrong);
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async getMetrics() {
      const good = await client.GET("/metrics", { parseAs: "text" });
      check(good.data?.includes("budkavle_database_up 1.0") ?? false, "samples");
      const bad = await client.GET("/metrics", wrong);
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
    async getProtectedResource() {
      const good = await client.GET("/.well-known/oauth-protected-resource");
      check(good.data?.bearer_methods_supported[0] === "header", "metadata");
      const bad = await client.GET("/.well-known/oauth-protected-resource", wrong);
      return { good: good.response.status, bad: bad.response.status, told: told(bad.error) };
    },
  };
}
