"""Code that runs one kind of bundle: loads it, then arrays in, arrays out."""
