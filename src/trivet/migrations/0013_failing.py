"""Which models a worker could not load what has their traffic of.

It runs before the code it comes with: a worker of the release before leaves it empty, and does not acknowledge a generation
whose version it has just failed to load. Backwards it forgets what the workers that live tell again each second.
"""

from django.db import migrations, models

from trivet.migrations._beside_others import AddColumn, wait_for_others


class Migration(migrations.Migration):
    dependencies = [("trivet", "0012_labels_of_entities")]

    operations = [
        migrations.RunPython(wait_for_others, migrations.RunPython.noop),
        AddColumn(
            model_name="worker",
            name="failing",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="Models of which it could not load what has their traffic, with spaces between.",
            ),
        ),
    ]
