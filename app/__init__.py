"""Reprise: a semantic-cache reverse proxy that speaks the OpenAI API."""

import os

__version__ = "0.2.0"

# This must be set before numpy is imported. Searches run in a few threads of our own; further
# threads inside each matrix product would only slow each other and the embedder down.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
