"""The policy: what a run must judge, and how strictly. From ftgate.toml, here and at a git ref."""
