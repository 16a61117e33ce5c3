"""What a secret looks like in a text, and finding it there: no state, no files, no IPython."""
