"""Charts as functions from numbers to what a template draws: no markup here, so that a test can read them.

Coordinates along the page are shares of its width in percent, so that text keeps its size on every screen; heights are pixels.
"""
