"""The URLs of the ready-made server: the console at its root, the admin beside it."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from trivet.server.entrance import admin_login
from trivet.server.liveness import root

urlpatterns = [
    path("admin/login/", admin_login),
    path("admin/", admin.site.urls),
    path("", root),
    path("", include("trivet.console.urls")),
]
