"""The models: a local embedder and verifier on ONNX Runtime, and remote ones.

May import: `core`, `dialects`.
"""
