"""Make DEST hold what a link holds: decide, stage, prove, move in."""
