"""`python -m trivet VERB` is `trivet VERB`."""

from trivet.cli.main import console_script

console_script()
