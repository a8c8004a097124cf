"""Django's admin: the registry and the log to look at, and, for the admin of your own models, what a model says of each row.

from trivet.admin import PredictionAdminMixin, prediction_column

@admin.register(Customer)
class CustomerAdmin(PredictionAdminMixin, admin.ModelAdmin):
    predictors = ["churn"]
    list_display = ["name", prediction_column("churn")]
"""

from trivet.admin import tables
from trivet.admin.mixin import PredictionAdminMixin, prediction_column

__all__ = ["PredictionAdminMixin", "prediction_column", "tables"]
