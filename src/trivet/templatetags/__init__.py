"""Template tags, as Django finds them: `{% load trivet %}`."""
