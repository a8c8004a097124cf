"""Which features the code of a worker has, so that no version is promoted that needs others.

It runs before or after the code it comes with: a worker of the release before says nothing, and is not asked. Backwards it
forgets what the workers that live tell again.
"""

from django.db import migrations, models

from trivet.migrations._beside_others import AddColumn, wait_for_others


class Migration(migrations.Migration):
    dependencies = [("trivet", "0019_scoring_runs")]

    operations = [
        migrations.RunPython(wait_for_others, migrations.RunPython.noop),
        AddColumn(
            model_name="worker",
            name="features",
            field=models.JSONField(
                help_text="Of each FeatureSet of its code, the names of its features; empty where nothing was told.",
                null=True,
            ),
        ),
    ]
