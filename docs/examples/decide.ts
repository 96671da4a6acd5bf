// Asks Placet's sidecar with Node's own modules: `node decide.ts ACTION TYPE ID` (Node 22.18 or newer) prints "allow",
// or "deny CODE" with exit code 3. PLACET_CA names the sidecar's ca.pem, PLACET_TOKEN_FILE the caller's token,
// PLACET_URL the sidecar if it is elsewhere.
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";

type Answer = { status: number; body: string };

// Trusts the sidecar's CA alone. `rejectUnauthorized`, because NODE_TLS_REJECT_UNAUTHORIZED=0 would turn it off.
const agent = new Agent({ ca: readFileSync(process.env.PLACET_CA!), rejectUnauthorized: true, keepAlive: true });

// No proxies, no redirects: node:https knows neither. The signal bounds the whole exchange.
function post(url: string, body: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) };
    const sent = request(url, { method: "POST", agent, headers, signal: AbortSignal.timeout(2000) }, (answer) => {
      const chunks: Buffer[] = [];
      let size = 0;
      answer.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        if ((size += chunk.length) > 1 << 20) answer.destroy(new Error("the answer is too long"));
      });
      answer.on("end", () => resolve({ status: answer.statusCode!, body: Buffer.concat(chunks).toString("utf8") }));
      answer.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

// Gives "allow", or the code of a denial. Only a whole allow allows; this caller fulfils no obligations.
export async function decide(url: string, token: string, action: string, type: string, id: string): Promise<string> {
  const input = { identity: { token }, action: { name: action }, resource: { type, id }, context: {} };
  let answer: Answer;
  try {
    answer = await post(`${url}/v1/data/placet/decision`, JSON.stringify({ input }));
  } catch {
    return "sidecar.unreachable";
  }
  // A number that OPA refuses before it evaluates anything is status 500, too.
  if (answer.status === 500 && answer.body.includes('"message": "invalid number:')) return "request.malformed";
  if (answer.status !== 200) {
    return { 400: "request.malformed", 500: "evaluation.error" }[answer.status] ?? "decision.malformed";
  }
  try {
    const { result } = JSON.parse(answer.body);
    if (result === undefined || result === null) return "decision.undefined";
    if (result.allow === false) return String(result.reasons[0].code);
    const whole = typeof result.subject?.id === "string" && typeof result.state === "string" &&
      typeof result.expires_at === "string" && Array.isArray(result.obligations) &&
      result.reasons.every((reason: { code: string }) => reason.code.startsWith("policy:"));
    if (result.allow !== true || !whole) return "decision.malformed";
    return result.obligations.length > 0 ? "obligation.unfulfilled" : "allow";
  } catch {
    return "decision.malformed";
  }
}

const [action, type, id] = process.argv.slice(2);
const token = readFileSync(process.env.PLACET_TOKEN_FILE!, "utf8").trim();
const verdict = await decide(process.env.PLACET_URL ?? "https://127.0.0.1:8181", token, action, type, id);
console.log(verdict === "allow" ? "allow" : `deny ${verdict}`);
agent.destroy();
process.exitCode = verdict === "allow" ? 0 : 3;
