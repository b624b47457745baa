"""The models: a local embedder and verifier on ONNX Runtime, and a remote embedder.

May import: `core`, `dialects`.
"""
