"""The one command, `trivet`, under which all verbs are."""
