"""Cut and inspect texts without a model: headings, sentences and chunks with exact offsets."""
