"""Every screen a person sees."""
