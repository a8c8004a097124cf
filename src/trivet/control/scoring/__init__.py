"""Runs that write predictions into columns of a project's tables: the rows that say how far each is."""
