"""EvalSet x System -> Generation: prompts, the stage, the store, engines."""
