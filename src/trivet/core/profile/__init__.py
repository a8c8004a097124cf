"""The profile: exact counts of what a version was asked and what it answered, on bins that its reference froze."""
