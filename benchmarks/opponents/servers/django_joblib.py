"""What a team writes by hand with Django: the joblib file behind a view. No key, no validation, no log."""

from __future__ import annotations

import json

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from benchmarks.opponents.servers.estimators import all_estimators
from benchmarks.plain_project import set_up

set_up(__name__)
models = all_estimators()


@csrf_exempt
def predict(request: HttpRequest, model: str) -> JsonResponse:
    """Answer with probabilities."""
    return JsonResponse({"probabilities": models[model].probabilities(json.loads(request.body)["rows"])})


urlpatterns = [path("<model>", predict)]
application = get_wsgi_application()
