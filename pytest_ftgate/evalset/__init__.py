"""What a model is asked: eval-set files, read and checked."""
