"""Git repositories: specs, refs, clones, and the broker that git asks for a token."""
