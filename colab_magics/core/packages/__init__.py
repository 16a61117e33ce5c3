"""Install packages from private repositories and indexes."""
