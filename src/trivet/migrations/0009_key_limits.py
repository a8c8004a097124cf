"""How often a key may ask.

It runs before the code it comes with: the release before neither reads nor writes the column, and limits nobody. Backwards
it forgets the limits.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trivet", "0008_grants")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="limits",
            field=models.JSONField(
                null=True, help_text="Model name, or *, to how often it may be asked, such as 100/s."
            ),
        ),
    ]
