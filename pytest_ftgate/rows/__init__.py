"""Training rows: how they are read and split, and whether they overlap an eval set."""
