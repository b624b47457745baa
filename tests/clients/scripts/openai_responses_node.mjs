// The client `openai` for Node, by the Responses API; answers are told with their ids, which go on.
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { apiKey, baseURL, MODEL as model, run, weather } from "./stage.mjs";

const client = new OpenAI({ baseURL, apiKey });
const Weather = z.object({ city: z.string(), degrees: z.number().int() });
const ask = (input, fields) => client.responses.create({ model, input, ...fields });

async function chat(question) {
  const response = await ask(question);
  return { id: response.id, text: response.output_text };
}

async function unstored(question) {
  return (await ask(question, { store: false })).output_text;
}

async function stream(input) {
  const pieces = [];
  const told = client.responses.stream({ model, input });
  told.on("response.output_text.delta", (event) => pieces.push(event.delta));
  const text = (await told.finalResponse()).output_text;
  if (pieces.join("") !== text) throw new Error("the pieces are not the text");
  return { text, pieces: pieces.length };
}

async function tools(question) {
  const parameters = { type: "object", properties: { city: { type: "string" } } };
  const tool = { type: "function", name: "get_weather", description: "Tell the weather.", parameters, strict: false };
  const input = [{ role: "user", content: question }];
  const { output } = await ask(input, { tools: [tool] });
  const { call_id, arguments: told } = output[0];
  const result = { type: "function_call_output", call_id, output: weather(JSON.parse(told).city) };
  return (await ask([...input, ...output, result], { tools: [tool] })).output_text;
}

async function structured(input) {
  const text = { format: zodTextFormat(Weather, "weather") };
  return (await client.responses.parse({ model, input, text })).output_parsed;
}

async function cancel(question) {
  for await (const event of await ask(question, { stream: true }))
    if (event.type === "response.output_text.delta") return event.delta;
  return "";
}

await run({ chat, unstored, stream, tools, structured, errors: chat, cancel });
