"""Dropbox's API: logging in, listings, uploads and downloads."""
