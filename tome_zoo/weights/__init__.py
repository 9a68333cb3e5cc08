"""Weights: fetch and verify a file, read it safely, convert published layouts, load."""
