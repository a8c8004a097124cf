"""The Django project around the views written by hand: as `startproject` makes it, without what needs a database."""

from __future__ import annotations

from django.conf import settings

import django


def set_up(urls: str) -> None:
    """Set Django up with the module `urls` as its URLs."""
    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=urls,
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
    )
    django.setup()
