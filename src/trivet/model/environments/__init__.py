"""Environments: where a model that names its own versions of libraries is opened and runs, made by whoever operates it."""
