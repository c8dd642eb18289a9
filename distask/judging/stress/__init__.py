"""Measure what should not change a judge's verdict: changed rows, their verdicts, and what moved."""
