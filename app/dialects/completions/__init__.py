"""Text completions: requests, answers, streams of chunks."""
