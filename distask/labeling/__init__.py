"""Let a person answer what a task asks of a model: which rows, in which order, on which page, into which file."""
