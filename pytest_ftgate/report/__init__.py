"""Reports of a run. Every text that a model or a data set wrote passes `sanitise` on its way."""
