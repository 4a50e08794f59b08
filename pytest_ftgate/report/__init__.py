"""How verdicts reach people; every text that a model or a data set wrote passes `sanitise` on its way."""
