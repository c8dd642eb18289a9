"""Read and write rows."""
