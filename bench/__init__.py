"""Measures the pipeline beside the design it replaces, on one machine, in one run, as ratios."""
