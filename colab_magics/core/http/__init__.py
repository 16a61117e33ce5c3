"""Links, requests and responses. It knows nothing of archives."""
