// The client `@openai/agents`, by its default model, which speaks the Responses API.
import { Agent, run as ask, setDefaultOpenAIClient, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";
import { apiKey, baseURL, MODEL as model, run, weather } from "./stage.mjs";

setTracingDisabled(true);
setDefaultOpenAIClient(new OpenAI({ baseURL, apiKey }));
const Weather = z.object({ city: z.string(), degrees: z.number().int() });
const agent = (fields) => new Agent({ name: "Assistant", instructions: "Be brief.", model, ...fields });

async function chat(question) {
  return (await ask(agent(), question)).finalOutput;
}

async function unstored(question) {
  return (await ask(agent({ modelSettings: { store: false } }), question)).finalOutput;
}

async function stream(question) {
  const pieces = [];
  const result = await ask(agent(), question, { stream: true });
  for await (const piece of result.toTextStream()) pieces.push(piece);
  await result.completed;
  return { text: pieces.join(""), pieces: pieces.length };
}

// A first agent hands the question to a second, who has the tool.
async function tools(question) {
  const get_weather = tool({
    name: "get_weather",
    description: "Tell the weather in a city.",
    parameters: z.object({ city: z.string() }),
    execute: async ({ city }) => weather(city),
  });
  const guide = agent({ name: "Guide", tools: [get_weather] });
  const result = await ask(agent({ handoffs: [guide] }), question);
  if (result.lastAgent !== guide) throw new Error("nothing was handed on");
  return result.finalOutput;
}

async function structured(question) {
  return (await ask(agent({ outputType: Weather }), question)).finalOutput;
}

async function cancel(question) {
  const controller = new AbortController();
  const result = await ask(agent(), question, { stream: true, signal: controller.signal });
  for await (const piece of result.toTextStream()) {
    controller.abort();
    return piece;
  }
  return "";
}

await run({ chat, unstored, stream, tools, structured, errors: chat, cancel });
