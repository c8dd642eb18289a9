"""Read files of JSON Lines with `orjson.loads`, line by line: what reading alone costs."""

import sys

import orjson

for path in sys.argv[1:]:
    with open(path, "rb") as file:
        for line in file:
            orjson.loads(line)
