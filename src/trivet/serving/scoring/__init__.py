"""Scores tables: walks through the rows of a project's table and writes what a model says of each into columns of it."""
