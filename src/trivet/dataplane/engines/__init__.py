"""Where runtimes live: inside this process, or in processes of their own."""
