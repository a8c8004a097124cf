"""Answers that were given before: remembered where that pays, and never one that the model would not give now."""
