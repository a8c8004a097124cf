"""The command line: verbs that parse, call one action, and present. `trivet VERB` and `manage.py trivet VERB` are the same."""
