"""Benchmarks: each runs by itself and prints ratios."""
