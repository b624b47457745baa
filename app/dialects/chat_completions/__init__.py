"""Chat completions: requests, answers, streams of chunks."""
