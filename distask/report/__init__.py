"""A result as one HTML page that asks nothing of any network: of one run, or of two side by side.

`result` reads an output and its record, the tallies count it in one pass, `blocks` packs the rows themselves, and
`page` puts all of it into one file. What a page looks like and does is in `assets/`: plain templates, styles and
scripts, which are put in as they stand.
"""
