"""Archives: members with safe names and whole content. It knows nothing of HTTP."""
