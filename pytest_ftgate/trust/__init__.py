"""What makes a verdict worth believing: policy, attempts, receipt."""
