"""The console's addresses: `path("trivet/", include("trivet.console.urls"))` at any mount."""

from __future__ import annotations

from django.urls import path

from trivet.console import job_views, log_views, views

app_name = "trivet"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("login/", views.login, name="login"),
    path("logout/", views.logout, name="logout"),
    path("alerts/", views.alerts, name="alerts"),
    path("alerts/<int:number>/", views.alert, name="alert"),
    path("alerts/<int:number>/accept/", views.accept, name="accept"),
    path("jobs/", job_views.jobs, name="jobs"),
    path("jobs/<int:number>/", job_views.job, name="job"),
    path("predictions/", log_views.predictions, name="predictions"),
    path("predictions/<str:identity>/", log_views.prediction, name="prediction"),
    path("models/<str:name>/", views.model, name="model"),
    path("models/<str:name>/try/", views.try_it, name="try"),
    path("models/<str:name>/drift/", views.drift, name="drift"),
    path("models/<str:name>/performance/", views.performance, name="performance"),
    path("models/<str:name>/labels/", log_views.labels, name="labels"),
    path("models/<str:name>/labels/refused.csv", log_views.refused_labels, name="refused_labels"),
    path("models/<str:name>/openapi/", views.openapi, name="openapi"),
    path("models/<str:name>/openapi.json", views.openapi_json, name="openapi_json"),
    path("models/<str:name>/promote/<int:number>/", views.promote, name="promote"),
    path("models/<str:name>/roll-back/", views.roll_back, name="roll_back"),
    path("models/<str:name>/proposals/<int:number>/", views.proposal, name="proposal"),
    path("assets/<slug:fingerprint>/<str:name>", views.file, name="asset"),
]
