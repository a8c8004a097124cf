"""A site that mounts the console below a path of its own."""

from django.urls import include, path

urlpatterns = [path("staff/models/", include("trivet.console.urls"))]
