"""Grants for one model, whose an API key is and how it is rotated, and moves of traffic that wait for a second person.

It runs before the code it comes with. The release before works on beside it: it honours no grants, asks nobody for a
second person, and takes no previous secret of a key; a key's owner is nothing to it. Backwards it forgets them all, and
ends the secrets before a rotation.
"""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("trivet", "0007_chain"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="prediction",
            options={
                "permissions": [
                    ("view_predictions", "Can see the prediction log without inputs"),
                    ("view_inputs", "Can see the inputs in the prediction log"),
                    ("export_predictions", "Can take the prediction log away as a file"),
                    ("label", "Can say what turned out true"),
                ],
                "verbose_name": "prediction",
                "verbose_name_plural": "predictions",
            },
        ),
        migrations.AlterModelOptions(
            name="registeredmodel",
            options={
                "ordering": ["name"],
                "permissions": [
                    ("predict", "Can ask a model"),
                    ("explain", "Can ask a model why"),
                    ("push", "Can register versions"),
                    ("retrain", "Can have a model trained again"),
                    ("promote", "Can move traffic"),
                    ("approve", "Can confirm what another person wants to promote"),
                    ("prune", "Can delete bundles and what the log keeps"),
                ],
                "verbose_name": "model",
                "verbose_name_plural": "models",
            },
        ),
        migrations.AddField(
            model_name="apikey",
            name="owner",
            field=models.ForeignKey(
                help_text="Whose key it is: it ends with them.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="owner_name",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_hash",
            field=models.BinaryField(help_text="Of the secret before, while that is valid as well.", null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_until",
            field=models.DateTimeField(null=True),
        ),
        migrations.CreateModel(
            name="Grant",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("verbs", models.JSONField(help_text="What they may do with it.")),
                (
                    "group",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="auth.group"
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="grants", to="trivet.registeredmodel"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "grant",
                "verbose_name_plural": "grants",
                "ordering": ["model", "pk"],
                "permissions": [("manage_grants", "Can say who may do what with a model")],
                "constraints": [
                    models.UniqueConstraint(fields=("model", "user"), name="trivet_grant_of_user_once"),
                    models.UniqueConstraint(fields=("model", "group"), name="trivet_grant_of_group_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("group__isnull", True), ("user__isnull", False)),
                            models.Q(("group__isnull", False), ("user__isnull", True)),
                            _connector="OR",
                        ),
                        name="trivet_grant_to_one_principal",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Proposal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("action", models.CharField(max_length=32)),
                ("move", models.JSONField(help_text="Routes, aliases and how traffic is handled, as it would be.")),
                ("generation", models.BigIntegerField(help_text="Of the model when it was proposed.")),
                ("proposer", models.CharField(max_length=200)),
                ("reason", models.TextField(blank=True)),
                ("proposed_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "open"),
                            ("approved", "approved"),
                            ("declined", "declined"),
                            ("withdrawn", "withdrawn"),
                        ],
                        default="open",
                        max_length=16,
                    ),
                ),
                ("decided_by", models.CharField(blank=True, max_length=200)),
                ("decided_at", models.DateTimeField(null=True)),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="proposals",
                        to="trivet.registeredmodel",
                    ),
                ),
                (
                    "proposed_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "proposal",
                "verbose_name_plural": "proposals",
                "ordering": ["-pk"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["open", "approved", "declined", "withdrawn"])),
                        name="trivet_proposal_state_known",
                    )
                ],
            },
        ),
    ]
