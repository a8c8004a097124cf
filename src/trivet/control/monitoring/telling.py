"""Telling: who is told of an alert, by mail and by webhook. One that nobody took is tried again for an hour."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial

from django.core.mail import send_mail
from django.urls import NoReverseMatch, reverse

from trivet import conf
from trivet.control.monitoring.models import Alert, AlertState, Severity
from trivet.control.monitoring.sentences import sentence_of
from trivet.control.webhooks.sending import send

logger = logging.getLogger(__name__)

TRIED_FOR = timedelta(hours=1)
SECONDS = 15.0  # of one receiver

Receivers = dict[str, Callable[[], object]]


class Telling:
    """Tells of what nobody was told of. One per process that does it: it remembers who took what."""

    def __init__(self) -> None:
        """Begin with nobody told."""
        self._took: set[tuple[int, str, str]] = set()

    def __call__(self, now: datetime) -> Iterator[bool]:
        """Tell of each open alert of severity warning or above; yield after each receiver whether it took it.

        Each may take some seconds. What fails is logged without its secret, and tried again at the next call.
        """
        waiting = Alert.objects.filter(told_at=None, state=AlertState.OPEN).exclude(severity=Severity.INFO)
        for alert in waiting.select_related("model", "version").order_by("pk"):
            everybody = True
            for name, send_it in _receivers(alert).items():  # each is tried
                took = self._tell(alert, name, send_it)
                everybody = everybody and took
                yield took
            if everybody or now - alert.news_at > TRIED_FOR:
                as_told = Alert.objects.filter(pk=alert.pk, severity=alert.severity, told_at=None)
                as_told.update(told_at=now)  # one that became worse meanwhile is told of again
                self._took = {took for took in self._took if took[0] != alert.pk}

    def _tell(self, alert: Alert, receiver: str, send_it: Callable[[], object]) -> bool:
        took = (alert.pk, alert.severity, receiver)
        if took in self._took:
            return True
        if not _is_done(f"alert={alert.pk} receiver={receiver}", send_it):
            return False
        self._took.add(took)
        return True


def _is_done(what: str, send_it: Callable[[], object]) -> bool:
    """Call `send_it` in a thread of its own, and tell whether it did it in time: a mail server may be silent for ever."""
    done: list[bool] = []

    def run() -> None:
        try:
            send_it()
            done.append(True)
        except Exception:  # whatever a site's mail backend raises: the next receiver is told
            logger.exception("event=alert_not_told %s", what)

    thread = threading.Thread(target=run, name="trivet-telling", daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        logger.error("event=alert_not_told %s: not done within %g s", what, SECONDS)
    return bool(done)


def _receivers(alert: Alert) -> Receivers:
    receivers: Receivers = {}
    if addresses := conf.ALERT_EMAILS():
        receivers["mail"] = partial(_mail, alert, addresses)
    for place, url in enumerate(url for url in conf.ALERT_WEBHOOKS() if "://" in url):
        receivers[f"webhook {place + 1}"] = partial(_post, alert, url)
    return receivers


def _mail(alert: Alert, addresses: tuple[str, ...]) -> None:
    subject = f"[{alert.severity}] {alert.model.name}: {alert.get_cause_display()}"
    link = f"\n\n{where}" if (where := _link(alert)) else ""
    send_mail(subject, f"{sentence_of(alert)}{link}\n", None, list(addresses))


def _post(alert: Alert, url: str) -> None:
    message = {
        "event": "alert",
        "alert": alert.pk,
        "model": alert.model.name,
        "version": alert.version.number,
        "cause": alert.cause,
        "severity": alert.severity,
        "features": alert.features,
        "text": sentence_of(alert),
        "opened_at": alert.opened_at.isoformat(),
        "url": _link(alert),
    }
    send(url, message, allowed=conf.ALERT_WEBHOOKS(), secret=conf.WEBHOOK_SECRET())


def _link(alert: Alert) -> str:
    """Return the address of the model's page; empty where nobody said under which one the site is reached."""
    try:
        return conf.PUBLIC_URL() and conf.PUBLIC_URL().rstrip("/") + reverse("trivet:model", args=[alert.model.name])
    except NoReverseMatch:  # the site has no console
        return ""
