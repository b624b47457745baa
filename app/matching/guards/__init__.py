"""Cheap proofs that one answer cannot serve two questions."""
