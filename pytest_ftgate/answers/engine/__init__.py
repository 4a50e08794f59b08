"""Engines: they answer prompts. `protocol` says what an engine is. Only this folder and training import torch."""
