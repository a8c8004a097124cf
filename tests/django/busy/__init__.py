"""A busy site: a database such as months of traffic leave, and what each page of the console costs on it."""
