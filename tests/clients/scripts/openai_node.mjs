// The client `openai` for Node.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { apiKey, baseURL, EMBEDDING_MODEL, MODEL, run, weather } from "./stage.mjs";

const client = new OpenAI({ baseURL, apiKey });
const Weather = z.object({ city: z.string(), degrees: z.number().int() });
const asked = (content) => ({ model: MODEL, messages: [{ role: "user", content }] });

async function chat(question) {
  return (await client.chat.completions.create(asked(question))).choices[0].message.content;
}

async function stream(question) {
  const pieces = [];
  for await (const chunk of await client.chat.completions.create({ ...asked(question), stream: true }))
    if (chunk.choices[0]?.delta.content) pieces.push(chunk.choices[0].delta.content);
  return { text: pieces.join(""), pieces: pieces.length };
}

async function tools(question) {
  const parameters = { type: "object", properties: { city: { type: "string" } } };
  const get = (told) => weather(told.city);
  const runner = client.chat.completions.runTools({
    ...asked(question),
    tools: [{ type: "function", function: { name: "get_weather", description: "Tell the weather.", parameters, parse: JSON.parse, function: get } }],
  });
  return await runner.finalContent();
}

async function structured(question) {
  const response_format = zodResponseFormat(Weather, "weather");
  const parsed = await client.chat.completions.parse({ ...asked(question), response_format });
  return parsed.choices[0].message.parsed;
}

async function embeddings(input) {
  return (await client.embeddings.create({ model: EMBEDDING_MODEL, input })).data[0].embedding;
}

async function cancel(question) {
  const chunks = await client.chat.completions.create({ ...asked(question), stream: true });
  for await (const chunk of chunks)
    if (chunk.choices[0]?.delta.content) return chunk.choices[0].delta.content;
  return "";
}

await run({ chat, stream, tools, structured, embeddings, errors: chat, cancel });
