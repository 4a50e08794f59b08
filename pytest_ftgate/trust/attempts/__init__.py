"""Which attempt on its examples a candidate is, and which error rate is left for it."""
