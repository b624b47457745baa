"""Responses: requests, answers, streams of events."""
