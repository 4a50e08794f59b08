"""One run: its options, what a process knows, and what only one process does."""
