// The Vercel AI SDK, by its default model, which speaks the Responses API, and by `.chat`.
import { createOpenAI } from "@ai-sdk/openai";
import * as ai from "ai";
import { z } from "zod";
import { apiKey, baseURL, EMBEDDING_MODEL, MODEL, run, speaksResponses, weather } from "./stage.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = createOpenAI({ baseURL, apiKey });
const model = speaksResponses ? openai(MODEL) : openai.chat(MODEL);
const Weather = z.object({ city: z.string(), degrees: z.number().int() });

async function chat(prompt) {
  return (await ai.generateText({ model, prompt })).text;
}

async function unstored(prompt) {
  return (await ai.generateText({ model, prompt, providerOptions: { openai: { store: false } } })).text;
}

async function stream(prompt) {
  const pieces = [];
  for await (const piece of ai.streamText({ model, prompt }).textStream) pieces.push(piece);
  return { text: pieces.join(""), pieces: pieces.length };
}

async function tools(prompt) {
  const get_weather = ai.tool({
    description: "Tell the weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => weather(city),
  });
  const stopWhen = ai.stepCountIs(3);
  return (await ai.generateText({ model, prompt, tools: { get_weather }, stopWhen })).text;
}

async function structured(prompt) {
  const output = ai.Output.object({ schema: Weather });
  return (await ai.generateText({ model, prompt, output })).output;
}

async function embeddings(value) {
  return (await ai.embed({ model: openai.embedding(EMBEDDING_MODEL), value })).embedding;
}

async function cancel(prompt) {
  const controller = new AbortController();
  const result = ai.streamText({ model, prompt, abortSignal: controller.signal, onError() {} });
  for await (const piece of result.textStream) {
    controller.abort();
    return piece;
  }
  return "";
}

await run({ chat, unstored, stream, tools, structured, embeddings, errors: chat, cancel });
