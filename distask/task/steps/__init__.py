"""Compiled steps of a task: pure functions over rows; the runner sends the requests."""
