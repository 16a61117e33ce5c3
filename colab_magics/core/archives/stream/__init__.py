"""A zip that is unpacked while it arrives."""
