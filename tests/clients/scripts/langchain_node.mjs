// The client `@langchain/openai`, its agent that of `langchain`.
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { createAgent } from "langchain";
import { z } from "zod";
import { apiKey, baseURL, EMBEDDING_MODEL, MODEL, run, weather } from "./stage.mjs";

const model = new ChatOpenAI({ model: MODEL, apiKey, configuration: { baseURL } });
const embedder = new OpenAIEmbeddings({ model: EMBEDDING_MODEL, apiKey, configuration: { baseURL } });
const Weather = z.object({ city: z.string(), degrees: z.number().int() });

async function chat(question) {
  return (await model.invoke(question)).content;
}

async function stream(question) {
  const pieces = [];
  for await (const chunk of await model.stream(question)) if (chunk.content) pieces.push(chunk.content);
  return { text: pieces.join(""), pieces: pieces.length };
}

async function tools(content) {
  const get_weather = tool(({ city }) => weather(city), {
    name: "get_weather",
    description: "Tell the weather in a city.",
    schema: z.object({ city: z.string() }),
  });
  const agent = createAgent({ model, tools: [get_weather] });
  return (await agent.invoke({ messages: [{ role: "user", content }] })).messages.at(-1).content;
}

async function structured(question) {
  return await model.withStructuredOutput(Weather).invoke(question);
}

async function cancel(question) {
  for await (const chunk of await model.stream(question)) if (chunk.content) return chunk.content;
  return "";
}

const embeddings = (text) => embedder.embedQuery(text);
await run({ chat, stream, tools, structured, embeddings, errors: chat, cancel });
