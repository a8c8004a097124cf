"""The prediction log: what was asked and what was answered."""
