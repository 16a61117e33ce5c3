"""A block as a portable shell script."""
