"""The table of what must never happen: its rows, and the run that prints a line for each. The tests stand in their rooms."""
