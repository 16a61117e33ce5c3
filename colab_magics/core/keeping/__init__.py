"""Keeping what appears in a folder at a safe place, whole and verified, and bringing it back."""
