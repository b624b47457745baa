"""Anthropic's Messages API: requests, answers, streams of events, errors."""
