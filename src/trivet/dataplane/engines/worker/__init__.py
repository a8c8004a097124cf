"""Runtimes in processes of their own: started, watched and replaced by an owner, shared by every web worker."""
