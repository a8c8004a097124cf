"""What `make bench` measures: the corridor's stations, and the server against plain ways of doing the same."""
