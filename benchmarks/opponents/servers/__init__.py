"""The servers of the opponents, written as their own documentation shows. Each runs in an environment of its own."""
