"""The verb `webhooks`: whether a message arrives where the operator wants it."""

from __future__ import annotations

import argparse

from trivet import conf
from trivet.cli.verb import DONE, Out
from trivet.control.webhooks.sending import send


def webhooks(options: argparse.Namespace, out: Out) -> int:
    """Send a test, signed like any message, and say what came of it."""
    message = {"event": "test", "text": "Trivet can reach you."}
    delivered = send(options.url, message, allowed=conf.ALERT_WEBHOOKS(), secret=conf.WEBHOOK_SECRET())
    out.say(f"{options.url} answered {delivered.status} after {delivered.seconds:.2f} s")
    out.document({"url": options.url, "status": delivered.status, "seconds": round(delivered.seconds, 3)})
    return DONE
