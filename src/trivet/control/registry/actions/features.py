"""Features: no version gets traffic that the code of a live process cannot ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.db import router

from trivet import conf
from trivet.control.registry.models import ModelVersion, Route, Worker
from trivet.control.registry.needed_features import lacking
from trivet.core.errors import Refused


def check_features(model: str, routes: Mapping[int, int], stand_ins: Collection[int] = ()) -> None:
    """Raise `Refused` where a version would get more traffic than it has, or stand in, and code lacks a feature that it needs.

    That is this process's code and that of each live one, which is named. A process of a release that says nothing of its
    code is not asked. What answers already goes on, and a rollback is not asked: neither makes anything worse.
    """
    wanted = {
        number: weight for number, weight in routes.items() if isinstance(weight, int)
    }  # of others it is told later
    numbers = [*(number for number, weight in wanted.items() if weight), *stand_ins]
    written = router.db_for_write(ModelVersion)  # a replica may lag behind
    found = Route.objects.using(written).filter(model__name=model).values_list("version", "weight")
    weights: dict[int, int] = dict(found)
    versions = ModelVersion.objects.using(written).of_model(model).filter(number__in=numbers).select_related("model")
    for version in versions:
        weight = weights.get(version.pk, 0)
        stands_in = weight or version.number in (version.model.fallback or ())
        if wanted.get(version.number, 0) > weight or (version.number in stand_ins and not stands_in):
            _check(version)


def _check(version: ModelVersion) -> None:
    way = f"Then promote it: `trivet promote {version.model.name}@{version.number}`."
    if here := lacking(version):
        raise Refused(f"{here} Add it to the code. {way}")
    workers = Worker.objects.using(router.db_for_write(Worker)).live(conf.LEASE_SECONDS())
    for worker in workers.filter(features__isnull=False):
        if there := lacking(version, worker.features, f"in {worker}, "):
            raise Refused(f"{there} Deploy the code that has it there, or end that process. {way}")
