"""Judge a fine-tuned language model: eval sets as pytest gates, SHIP or BLOCK."""

__version__ = "0.1.0"
