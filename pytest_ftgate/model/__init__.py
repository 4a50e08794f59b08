"""What is judged: a directory, its base, digests, and ftgate.json."""
