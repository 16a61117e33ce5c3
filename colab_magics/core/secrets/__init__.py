"""Where a secret is found, and for which host it is."""
