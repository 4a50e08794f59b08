"""What a model learned from: training rows, how they are split, and whether they overlap an eval set."""
