"""The vocabulary both planes speak: values that are sent, stored and compared, and nothing that acts."""
