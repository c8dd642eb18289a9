"""Commands that hold judges to what people answer."""
