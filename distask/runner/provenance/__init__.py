"""From which files, prompts, models and judges the rows of a run came, and how to trace a row back to them."""
