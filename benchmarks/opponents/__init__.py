"""The servers that Trivet is measured against: how each is installed, started, asked and understood."""
