"""Validation: a request's values held against a signature, before a model sees them."""
