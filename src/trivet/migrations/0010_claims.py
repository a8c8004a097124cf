"""Claims to bundles that are being pushed.

It runs before the code it comes with: the release before makes no claims, so its pushes are protected as before, for a day
after the bundle was stored. Backwards it forgets the claims of pushes that are under way.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trivet", "0009_key_limits")]

    operations = [
        migrations.CreateModel(
            name="BundleClaim",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(db_index=True, max_length=64)),
                ("at", models.DateTimeField(help_text="By the database's clock.")),
            ],
            options={"verbose_name": "claim to a bundle", "verbose_name_plural": "claims to bundles"},
        ),
    ]
