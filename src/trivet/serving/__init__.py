"""Joins the planes: the only room that sees both the registry and what answers."""
