"""Makes an adapter, and records what it was made from. Meets the gate in one file, `ftgate.json`."""
