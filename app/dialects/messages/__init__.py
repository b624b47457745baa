"""Anthropic's Messages: requests, answers, streams of events, errors."""
