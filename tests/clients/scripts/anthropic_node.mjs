// The client `@anthropic-ai/sdk` for Node.
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import * as z from "zod/v4";
import { apiKey, baseURL, run, weather } from "./stage.mjs";

const client = new Anthropic({ baseURL: baseURL.replace(/\/v1$/, ""), apiKey });
const Weather = z.object({ city: z.string(), degrees: z.number().int() });
const asked = (content) => ({ model: "claude-sonnet-5", max_tokens: 2000, messages: [{ role: "user", content }] });

const thinking = { type: "enabled", budget_tokens: 1024 };

function after({ content: [thought, answer] }) {
  if (!thought.thinking || !thought.signature) throw new Error("no signed thought");
  return answer.text;
}

async function chat(question) {
  return after(await client.messages.create({ ...asked(question), thinking }));
}

async function stream(question) {
  const pieces = [];
  const told = client.messages.stream({ ...asked(question), thinking }).on("text", (piece) => pieces.push(piece));
  const text = after(await told.finalMessage());
  if (pieces.join("") !== text) throw new Error("the pieces are not the text");
  return { text, pieces: pieces.length };
}

async function tools(question) {
  const inputSchema = z.object({ city: z.string() });
  const run = ({ city }) => weather(city);
  const tool = betaZodTool({ name: "get_weather", description: "Tell the weather.", inputSchema, run });
  // Without a thread that the upstream holds: no answer to one can serve another.
  const runner = client.beta.messages.toolRunner({ ...asked(question), tools: [tool], thread: false });
  return (await runner).content[0].text;
}

async function structured(question) {
  const output_config = { format: zodOutputFormat(Weather) };
  return (await client.messages.parse({ ...asked(question), output_config })).parsed_output;
}

async function cancel(question) {
  const told = await client.messages.create({ ...asked(question), stream: true });
  for await (const event of told)
    if (event.type === "content_block_delta") return event.delta.text;
  return "";
}

await run({ chat, stream, tools, structured, errors: chat, cancel });
