"""An index by which compacting finds the label profiles that have become old, as there is one of profiles.

It runs before or after the code it comes with, which only is slower without it.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trivet", "0016_harm")]

    operations = [
        migrations.AddIndex(
            model_name="labelprofile",
            index=models.Index(fields=["grain", "start"], name="trivet_label_profile_age"),
        ),
    ]
