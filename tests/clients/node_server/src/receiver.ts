// A receiver whose types are generated from the contract of deliveries, and whose routes are read from it.
import { createHmac, timingSafeEqual } from "node:crypto";
import { mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import type { IncomingHttpHeaders } from "node:http";
import Fastify from "fastify";
import glue from "fastify-openapi-glue";
import type { RouteHandlers } from "../deliveries/fastify.gen.js";
import type { DeliveredEvent } from "../deliveries/types.gen.js";

const KEY = Buffer.from((process.env["WEBHOOK_SECRET"] ?? "").replace(/^whsec_/, ""), "base64");

// Return whether one of the signatures is valid and recent.
function isAuthentic(headers: IncomingHttpHeaders, body: Buffer): boolean {
  const [id, timestamp, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) =>
    String(headers[name] ?? ""),
  ) as [string, string, string];
  if (!/^[0-9]{1,12}$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) return false;
  const expected = createHmac("sha256", KEY).update(`${id}.${timestamp}.`).update(body).digest();
  return signatures.split(" ").some((signature) => {
    const [version, text = ""] = signature.split(",");
    const given = Buffer.from(text, "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

const handlers: RouteHandlers = {
  async modtagLevering(request, reply) {
    const event: DeliveredEvent = request.body;
    await writeFile(`inbox/${request.headers["webhook-id"]}.json`, JSON.stringify(event));
    reply.code(204);
  },
};

const app = Fastify({ bodyLimit: 128 * 1024, ajv: { customOptions: { strict: false } } });
// Verify the received bytes before they are parsed.
app.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, body, done) => {
  if (!isAuthentic(request.headers, body as Buffer)) {
    done(Object.assign(new Error("no valid signature"), { statusCode: 401 }));
    return;
  }
  // The pattern in the contract is that of this version: the generated schema would reject other signatures.
  delete request.headers["webhook-signature"];
  done(null, JSON.parse(body.toString()));
});
app.register(glue, { specification: "deliveries.yaml", serviceHandlers: handlers });
mkdirSync("inbox");
console.log(`listening on ${await app.listen({ port: 0, host: "127.0.0.1" })}`);
