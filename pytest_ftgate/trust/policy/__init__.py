"""What a run must have judged, and how strictly: ftgate.toml, and what stood in it before this change."""
