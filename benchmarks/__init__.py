"""What distask costs beside the endpoint, measured side by side with others in one run: `python -m benchmarks`."""
