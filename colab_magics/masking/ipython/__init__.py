"""The mask over an IPython kernel, or over IPython in a terminal."""
