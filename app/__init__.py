"""Reprise: a semantic-cache reverse proxy that speaks the OpenAI API."""

import os

__version__ = "0.2.0"

# Before numpy is loaded: searches run in a few threads of our own, and more threads inside each
# product only get in the way of each other and of the embedder.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
