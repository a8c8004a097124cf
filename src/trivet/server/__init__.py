"""A ready-made Django project with every room switched on, for people who have none."""
