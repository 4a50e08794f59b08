"""What a model is asked, and what it must not have seen in training. Imports no other package of this project."""
