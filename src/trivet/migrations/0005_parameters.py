"""What a request's parameters were, beside its answer in the log.

It runs before the code it comes with; the release before works on, for it does not name the column, which is then null.
A column is added without copying the table, so the triggers stay. Backwards it forgets the parameters that were kept.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trivet", "0004_worker_kind_grpc")]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="parameters",
            field=models.JSONField(help_text="Of the request, as the caller sent them; null for none.", null=True),
        ),
    ]
