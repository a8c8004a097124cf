"""The sandbox: what a process takes from itself before it opens what a stranger made."""
