// Verify an export of the audit, and its seals. Written from docs/reference/audit-hashes.md alone.
// node check.mjs EXPORT SEALS PUBLIC_KEY [RECEIPTS TIME_OF_THE_OLDEST KEY_IN_BASE64]
import { createHash, createHmac, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const zeros = "0".repeat(64);

const lines = (path) => readFileSync(path, "utf8").split("\n").slice(0, -1);

function fail(reason) {
  console.log(reason);
  process.exit(1);
}

// JSON.stringify leaves U+007F and all other characters above it as they are.
const quote = (text) =>
  JSON.stringify(text).replace(/[\u007f-\uffff]/g, (unit) => "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0"));

const [exportPath, sealsPath, keyPath, receiptsPath, oldest, signingKey] = process.argv.slice(2);

const key = createPublicKey(readFileSync(keyPath));
const keyHash = sha256(Buffer.from(key.export({ format: "jwk" }).x, "base64url"));
const isSigned = (text, signature) => verify(null, Buffer.from(text), key, Buffer.from(signature, "base64"));

const entries = lines(exportPath).map((line) => JSON.parse(line));
const checkpoints = entries.filter(({ chain, operation }) => chain === "retention" && operation === "audit prune");
let checkpoint = { chains: {}, receipts: { until: 0 } };
if (checkpoints.length) {
  const { checkpoint: text, signature } = JSON.parse(checkpoints.at(-1).detail);
  checkpoint = JSON.parse(text);
  if (checkpoint.type !== "budkavle-audit-checkpoint" || checkpoint.version !== 1) fail("not a checkpoint");
  if (checkpoint.key !== keyHash || !isSigned(text, signature)) fail("the checkpoint is not signed with this key");
}
const startOf = (name) => checkpoint.chains[name] ?? [0, zeros];

const chains = new Map();
for (const entry of entries) {
  if (!chains.has(entry.chain)) chains.set(entry.chain, []);
  const chain = chains.get(entry.chain);
  const [start, startHash] = startOf(entry.chain);
  const expected = start + chain.length + 1;
  if (entry.number !== expected) fail(`${entry.chain}: entry ${expected} is missing`);
  const previous = chain.length ? chain.at(-1).hash : startHash;
  const texts = [entry.kind, entry.time, entry.operation, entry.caller, entry.outcome, entry.requestId];
  const head = `["${previous}",${quote(entry.chain)},${entry.number},${texts.map(quote).join(",")}]`;
  if (sha256(`${head}\n${entry.detail}`) !== entry.hash) fail(`${entry.chain}: entry ${entry.number} was changed`);
  chain.push(entry);
}

// An entry that was removed before the checkpoint has any hash.
function isHash(name, number, hash) {
  const [start, startHash] = startOf(name);
  return number < start || (number === start ? startHash : chains.get(name)?.[number - start - 1]?.hash) === hash;
}

const seals = [];
for (const line of lines(sealsPath)) {
  const space = line.indexOf(" ");
  const text = line.slice(space + 1);
  const seal = JSON.parse(text);
  if (!isSigned(text, line.slice(0, space))) fail("a signature is wrong");
  if (seal.type !== "budkavle-audit-seal" || seal.version !== 1 || seal.key !== keyHash) fail("not a seal of this key");
  const last = seals.at(-1);
  if (last ? seal.number !== last.number + 1 || seal.previous !== last.hash || seal.time < last.time : false)
    fail(`seal ${seal.number} does not continue the one before`);
  if (seal.number === 1 && seal.previous !== zeros) fail("the first seal continues another one");
  for (const [name, [number, hash]] of Object.entries(seal.chains))
    if (!isHash(name, number, hash)) fail(`${name}: entry ${number} is not the sealed one`);
  seals.push({ ...seal, hash: sha256(text) });
}

for (const { number, hash } of (chains.get("seals") ?? []).map((entry) => JSON.parse(entry.detail)))
  if (number >= seals[0].number && seals[number - seals[0].number]?.hash !== hash) fail(`seal ${number} is missing`);

const details = (entries) => entries.map((entry) => JSON.parse(entry.detail));

function checkReceipts() {
  const receipts = lines(receiptsPath).map((line) => JSON.parse(line));
  receipts.sort((one, other) => one.number - other.number);
  const text = (value) => (value === undefined ? "null" : typeof value === "number" ? `${value}` : quote(value));
  const array = (values) => `[${values.join(",")}]`;
  const hash = (one) => {
    const first = [one.number, one.id, one.eventId, one.system, one.orgType, one.orgCode, one.entityType];
    const second = [one.webhookUrl, one.created, one.firstAttempt, one.lastAttempt, one.attempts, one.status];
    const failures = (one.failures ?? []).map((each) =>
      array([each.attempt, each.time, each.milliseconds, each.status, each.reason].map(text)),
    );
    return sha256(array([...[...first, ...second, one.milliseconds, one.sha256].map(text), array(failures)]));
  };
  const sealed = new Set();
  for (const [name, entries] of chains) {
    if (name === "receipts") continue;
    for (const batch of details(entries.filter((entry) => entry.kind === "receipts"))) {
      const found = receipts.filter(
        (one) => one.system === name && one.number >= batch.first && one.number <= batch.last,
      );
      found.forEach((one) => sealed.add(one));
      if (found.length < batch.count && batch.earliest < oldest) continue;
      const hashes = found.map(hash);
      if (found.length !== batch.count || sha256(hashes.map((each) => `${each}\n`).join("")) !== batch.hash)
        fail(`${name}: receipts ${batch.first} to ${batch.last} differ`);
      if (hashes.map((each) => each.slice(0, 4)).join("") !== batch.marks) fail(`${name}: wrong marks`);
    }
  }
  let { until } = checkpoint.receipts;
  for (const round of details(chains.get("receipts") ?? [])) {
    if (round.after !== until) fail(`a round after ${until} is missing`);
    until = round.until;
  }
  const { until: removed, expired } = checkpoint.receipts;
  const isCovered = (one) => sealed.has(one) || (one.number <= removed && one.lastAttempt < expired);
  const added = receipts.find((one) => one.number <= until && !isCovered(one));
  if (added) fail(`${added.system}: receipt ${added.id} is in no batch`);
  return `, ${sealed.size} receipts`;
}

function checkSignatures() {
  const key = Buffer.from(signingKey, "base64");
  const isRight = ({ chain, hash, signature }) =>
    createHmac("sha256", key).update(`${chain}\n${hash}`).digest("hex") === signature;
  const start = (chains.get("signing") ?? []).find(isRight);
  if (!start) fail("no entry says that entries are signed");
  const before = JSON.parse(start.detail).chains;
  for (const [name, [number, hash]] of Object.entries(before))
    if (!isHash(name, number, hash)) fail(`${name}: entry ${number} is not the one before signing`);
  const signed = [...chains.values()].flat().filter(({ chain, number }) => number > (before[chain]?.[0] ?? 0));
  const wrong = signed.find((entry) => !isRight(entry));
  if (wrong) fail(`${wrong.chain}: entry ${wrong.number} is not signed`);
  return `, ${signed.length} signatures`;
}

const others = (receiptsPath ? checkReceipts() : "") + (signingKey ? checkSignatures() : "");
console.log(`ok: ${[...chains.values()].flat().length} entries, ${seals.length} seals${others}`);
