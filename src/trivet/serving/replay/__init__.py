"""Runs logged inputs through another version, and compares what it says with what was answered."""
