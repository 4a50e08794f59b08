"""(Example, Generation) -> Score, and whether an output obeys a format."""
