"""The model that is judged: its directory, its base, digests, and ftgate.json."""
