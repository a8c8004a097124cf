"""How often a caller may ask: limits that hold for all processes of this machine together."""
