"""What the verbs do, a module per noun: parse what was typed, call one action, present. `trivet.cli.parser` names them."""
