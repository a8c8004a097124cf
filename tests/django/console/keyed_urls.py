"""A site that mounts the console, and the prediction paths among its own."""

from django.urls import include, path

urlpatterns = [path("", include("trivet.serving.urls")), path("", include("trivet.console.urls"))]
