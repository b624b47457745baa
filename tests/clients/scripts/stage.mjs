// Performs the acts of a client as standard input names them, one JSON line each; see stage.py.
import { createInterface } from "node:readline";

export const baseURL = process.env.BASE_URL;
export const apiKey = process.env.API_KEY;
export const speaksResponses = process.env.API === "responses";
export const MODEL = "gpt-4o-mini";
export const EMBEDDING_MODEL = "text-embedding-3-small";

export const weather = (city) => `It is 21 degrees in ${city}.`;

function told(error) {
  const status = error.status ?? error.statusCode ?? error.lastError?.statusCode ?? null;
  return { type: error.constructor.name, status, message: String(error.message).slice(0, 500) };
}

export async function run(acts) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { act, question } = JSON.parse(line);
    let reply;
    try {
      reply = act in acts ? { value: await acts[act](question) } : { absent: true };
    } catch (error) {
      reply = { error: told(error) };
    }
    process.stdout.write(JSON.stringify(reply) + "\n");
  }
  process.exit(0);
}
