"""Show a result, or two side by side, as one HTML page that needs no network.

`result` reads an output and its record, the tallies count it in one pass, `blocks` packs the rows, and `page` writes
everything into one file. The look and behavior of a page are in `assets/`: plain templates, styles and scripts that
are inserted unchanged.
"""
