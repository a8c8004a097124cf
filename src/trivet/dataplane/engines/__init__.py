"""Where runtimes live: inside this process, and later in worker processes or on Ray."""
