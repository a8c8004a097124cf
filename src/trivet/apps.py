"""The one Django app: `INSTALLED_APPS += ["trivet"]`."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class TrivetConfig(AppConfig):
    """Registers the models and the system checks, and imports the `ml.py` of each app, as Django does with `admin.py`.

    No model is loaded and no database is touched when it gets ready.
    """

    name = "trivet"
    label = "trivet"
    verbose_name = _("Trivet")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks of `trivet.checks`; follow the users whom keys belong to, and rows that say what came true or have
        columns which follow them.

        In DEBUG also requests, to tell of models that are asked row by row.
        """
        from trivet import checks  # the app registry must be ready before settings are judged
        from trivet.control.registry.key_owners import watch_owners
        from trivet.features.saves import watch_rows
        from trivet.refreshing import watch_columns
        from trivet.serving.repeats import watch_requests

        for check in checks.ALL_CHECKS:
            tags = ("trivet", Tags.database) if check in checks.DATABASE_CHECKS else ("trivet",)
            register(check, *tags, deploy=check in checks.DEPLOY_CHECKS)
        watch_owners()
        watch_rows()
        watch_columns()
        watch_requests()
        autodiscover_modules("ml")
