"""Addresses of the shop."""

from django.contrib import admin
from django.urls import include, path

from customers import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("customers/<int:number>/renew/", views.renew, name="renew"),
    path("trivet/", include("trivet.console.urls")),
]
