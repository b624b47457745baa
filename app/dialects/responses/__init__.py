"""OpenAI's Responses API: requests, answers, streams of events."""
