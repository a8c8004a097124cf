"""One module per family of verbs; each offers `VERBS`."""
