"""Signing: who vouches for a bundle, said with a key in the format of OpenSSF Model Signing."""
