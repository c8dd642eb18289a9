"""One run on many machines: parts of the input, each done by an engine of its own, within limits that all share."""
