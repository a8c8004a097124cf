"""An app of the project the tests run in: what a shop, and an airport, would have in tables of their own."""
