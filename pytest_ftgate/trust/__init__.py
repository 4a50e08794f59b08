"""Policy, attempts and receipt: the reasons to believe a verdict."""
