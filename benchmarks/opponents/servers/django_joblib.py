"""What a team writes by hand with Django: the joblib file behind a view. No key, no validation, no log."""

from __future__ import annotations

import json

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

import django
from benchmarks.opponents.servers.estimators import all_estimators

settings.configure(
    SECRET_KEY="benchmark",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[  # those of `startproject` that need no database
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
)
django.setup()
models = all_estimators()


@csrf_exempt
def predict(request: HttpRequest, model: str) -> JsonResponse:
    """Answer with probabilities."""
    return JsonResponse({"probabilities": models[model].probabilities(json.loads(request.body)["rows"])})


urlpatterns = [path("<model>", predict)]
application = get_wsgi_application()
