"""Wiring: settings and storage in, a data plane out."""

from __future__ import annotations

import hashlib
import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

import trivet
from trivet import conf
from trivet.control.registry.signing import fetch_to_serve
from trivet.control.registry.storage import make_private
from trivet.dataplane.access_log import AccessLog
from trivet.dataplane.cache.key import keyed_hash
from trivet.dataplane.cache.prediction_cache import PredictionCache
from trivet.dataplane.engines.guard import Guard
from trivet.dataplane.engines.inline import InlineEngine
from trivet.dataplane.frontends.rehearsal import rehearse
from trivet.dataplane.metrics.meter import Meter
from trivet.dataplane.plane import Limits, Plane
from trivet.dataplane.rates.limiter import Limiter
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.spool import Spool
from trivet.dataplane.witness import Witness
from trivet.serving.inline_guard import guard_folder
from trivet.serving.keeper import metrics_root, spool_root
from trivet.serving.loading import change_loading
from trivet.serving.model_workers import engine_from_settings, queue_share, run_folder

if TYPE_CHECKING:
    from trivet.dataplane.cache.shared import SharedCache

LOCAL_HOSTS = (".localhost", "127.0.0.1", "[::1]")  # what Django allows where DEBUG is on and nothing is listed


def build_plane(worker_id: str, processes: int | None = None) -> Plane:
    """Return a plane without a snapshot yet, whose records go to the spool of `worker_id`.

    It is of one of `processes` that answer on this machine, which share bounds; by default one of TRIVET_WORKERS.
    """
    processes = processes or conf.WORKERS()
    max_rows = conf.MAX_ROWS()
    make_private(spool_root())
    make_private(run_folder())
    guard = Guard(guard_folder())
    meter = Meter(metrics_root(), worker_id)
    lost = partial(meter.count, "trivet_spool_lost_records_total")
    lost(by=0)  # so that the slot is there before the disk is full
    return Plane(
        reconciler=Reconciler(
            [InlineEngine(guard), engine_from_settings(processes)],
            fetch_to_serve(),
            max_rows,
            build_cache(),
            conf.MODELS_MEMORY_MB() * conf.MIB,
        ),
        spool=Spool(
            spool_root(),
            worker_id,
            limit_bytes=conf.SPOOL_MB() * conf.MIB,
            survives_power_loss=conf.DURABILITY() == "power",
            serves_when_full=conf.SPOOL_FULL() == "serve",
            tell_lost=lambda records: lost(by=records),
        ),
        peppers=conf.peppers(),
        limits=Limits(
            max_body_bytes=conf.MAX_BODY_MB() * conf.MIB,
            max_rows=max_rows,
            deadline_seconds=conf.DEADLINE_SECONDS(),
            queue_length=queue_share(processes),
            inline_limit_us=conf.INLINE_LIMIT_MS() * 1000,
            log_inputs=conf.LOG_INPUTS(),
        ),
        prefix=conf.PREFIX(),
        allowed_hosts=_allowed_hosts(),
        release=trivet.__version__,
        meter=meter,
        limiter=Limiter(limits_root(), processes),
        change_loading=change_loading,
        metrics_aliases=conf.METRICS_ALIASES(),
        witnesses=_witnesses(),
        rehearse=rehearse,
        guard=guard,
    )


def build_cache() -> PredictionCache | None:
    """Return what this process remembers; None where `TRIVET_CACHE` forbids it. Raises `ImproperlyConfigured`."""
    mode = conf.CACHE()
    if mode == "off":
        return None
    secret = hashlib.blake2b(_numerics(), key=conf.cache_secret(), digest_size=32).digest()
    limit_bytes = conf.CACHE_MB() * conf.MIB
    return PredictionCache(limit_bytes, keyed_hash(secret), is_forced=mode == "on", shared=_shared_cache(secret))


def _numerics() -> bytes:
    """Return what an answer's last bits depend on beside its bundle: another release's answers are not taken for ours."""
    return repr((trivet.__version__, version("onnxruntime"), version("numpy"), platform.machine())).encode()


def _shared_cache(secret: bytes) -> SharedCache | None:
    place = conf.shared_cache()
    if place is None:
        return None
    try:
        from trivet.dataplane.cache.shared import SharedCache
    except ImportError:
        raise ImproperlyConfigured("TRIVET_SHARED_CACHE needs redis-py: pip install 'trivet[redis]'.") from None
    address, options = place
    return SharedCache(address, secret, options=options)


def _witnesses() -> tuple[Witness, ...]:
    witnesses: list[Witness] = [AccessLog()] if conf.ACCESS_LOG() else []
    if conf.TRACING():
        from trivet.dataplane.tracing import Tracing

        witnesses.append(Tracing())
    return tuple(witnesses)


def limits_root() -> Path:
    """Return the folder in which the processes of this machine count how often each key asks."""
    return conf.HOME() / "limits"


def _allowed_hosts() -> tuple[str, ...]:
    hosts = tuple(host.lower() for host in settings.ALLOWED_HOSTS)
    return hosts or (LOCAL_HOSTS if settings.DEBUG else ())
