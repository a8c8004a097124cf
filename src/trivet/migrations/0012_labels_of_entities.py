"""An index by which a label finds the predictions about its entity, and `forget` whom it is to forget.

It runs before the code it comes with, whose labels would else read a model's log of 90 days each; the release before runs
beside it. While it is made, PostgreSQL ships nothing: predictions are answered, and their records wait in the spool.
"""

from django.db import migrations, models

from trivet.migrations._beside_others import wait_for_others


class Migration(migrations.Migration):
    dependencies = [("trivet", "0011_living_models")]

    operations = [
        migrations.RunPython(wait_for_others, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(fields=["entity_key", "model", "made_at"], name="trivet_prediction_of_entity"),
        ),
    ]
