"""Run a job on many machines: each part of the input has its own engine, and all engines share the same limits."""
