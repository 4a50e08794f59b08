"""Where answers come from. `protocol` says what an engine is; `hf` is the one file that imports torch."""
