"""The chain: Events and rows of the log that show that somebody changed them; who was forgotten; sensitive inputs.

It runs before the code it comes with; the release before works on, for the new columns have defaults in the database. What
it still writes is in no chain: its Events are taken in with the next one, its rows of the log are told apart. Events that
are there already are chained, for which their trigger is away in this transaction. Rows of the log are not, and none is
rewritten: `trivet verify --log` counts them as older than the chain. Backwards it forgets every hash.
"""

import json

import django.utils.timezone
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from trivet.core.chain import NOTHING, canonical, follow, instant
from trivet.migrations import _immutability
from trivet.migrations._beside_others import AddColumn, wait_for_others

STATE_ID = 1


def chain_events(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Give each Event its SHA-256, in the form of this release, and the registry's state the last one."""
    database = schema_editor.connection.alias
    events = apps.get_model("trivet", "Event").objects.using(database)
    generation, sha256 = 0, NOTHING
    for event in events.order_by("generation").iterator(chunk_size=500):
        said = ["trivet event 1", event.generation, instant(event.at), event.actor, event.action, event.model]
        said += [event.version, event.before, event.after, event.reason]
        generation, sha256 = event.generation, follow(sha256, canonical(json.loads(json.dumps(said))))
        events.filter(pk=event.pk).update(sha256=sha256)
    states = apps.get_model("trivet", "RegistryState").objects.using(database)
    states.filter(pk=STATE_ID).update(head_generation=generation, head_sha256=sha256 if generation else "")


class Migration(migrations.Migration):
    dependencies = [
        ("trivet", "0006_golden_cases"),
    ]

    operations = [
        migrations.RunPython(wait_for_others, migrations.RunPython.noop),
        # backwards it comes last: where SQLite copied a table to take a column away, its triggers are gone
        migrations.RunPython(migrations.RunPython.noop, _immutability.install, atomic=False),
        migrations.CreateModel(
            name="ForgottenEntity",
            fields=[
                (
                    "digest",
                    models.CharField(
                        help_text="Of the entity key, keyed by the pepper.",
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("generation", models.BigIntegerField(help_text="Of the Event.")),
            ],
            options={
                "verbose_name": "forgotten entity",
                "verbose_name_plural": "forgotten entities",
            },
        ),
        migrations.CreateModel(
            name="LogHead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("links", models.BigIntegerField(default=0)),
                (
                    "sha256",
                    models.CharField(
                        default="0000000000000000000000000000000000000000000000000000000000000000", max_length=64
                    ),
                ),
                ("erasures", models.BigIntegerField(default=0, help_text="How often somebody was forgotten.")),
            ],
            options={
                "verbose_name": "head of the log",
                "verbose_name_plural": "head of the log",
            },
        ),
        migrations.AddField(
            model_name="event",
            name="sha256",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of this Event, and of the one before; empty where a release without the chain wrote it.",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="prediction",
            name="erased_by",
            field=models.BigIntegerField(
                help_text="Generation of the Event that tells of the erasure of inputs and entity.", null=True
            ),
        ),
        migrations.AddField(
            model_name="prediction",
            name="link",
            field=models.BigIntegerField(help_text="Number of the chain's link that holds this row.", null=True),
        ),
        migrations.AddField(
            model_name="prediction",
            name="place",
            field=models.PositiveIntegerField(help_text="Among the rows of that link, from 0.", null=True),
        ),
        AddColumn(
            model_name="prediction",
            name="private_sha256",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="Of what may be erased, with the salt.", max_length=64
            ),
        ),
        AddColumn(
            model_name="prediction",
            name="salt",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="Empty once what it hid was erased.", max_length=32
            ),
        ),
        AddColumn(
            model_name="prediction",
            name="sha256",
            field=models.CharField(blank=True, db_default="", default="", help_text="Of all the rest.", max_length=64),
        ),
        migrations.AddField(
            model_name="registeredmodel",
            name="sensitive",
            field=models.JSONField(
                help_text="Names of the inputs that the log keeps a keyed digest of, in place of the value.", null=True
            ),
        ),
        migrations.AddField(
            model_name="registrystate",
            name="head_generation",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                help_text="Of the last Event in the chain; later ones are of a release without it.",
            ),
        ),
        migrations.AddField(
            model_name="registrystate",
            name="head_sha256",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
        migrations.CreateModel(
            name="LogLink",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("format", models.PositiveSmallIntegerField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "worker",
                    models.CharField(blank=True, help_text="Whose segment it was; empty for none.", max_length=100),
                ),
                ("segment", models.PositiveBigIntegerField()),
                (
                    "offset",
                    models.PositiveBigIntegerField(help_text="Of the segment, in bytes: where the batch ended."),
                ),
                ("first_id", models.BigIntegerField(help_text="No row of it has a smaller id.")),
                ("last_id", models.BigIntegerField()),
                ("rows", models.PositiveIntegerField()),
                ("until", models.DateTimeField(help_text="When the last of its predictions was made.")),
                ("digest", models.CharField(help_text="SHA-256 over those of its rows, in order.", max_length=64)),
                ("sha256", models.CharField(help_text="Of this row, and of the link before.", max_length=64)),
                (
                    "pruned_by",
                    models.BigIntegerField(
                        help_text="Generation of the Event that tells where its rows went.", null=True
                    ),
                ),
            ],
            options={
                "verbose_name": "link of the log",
                "verbose_name_plural": "links of the log",
                "indexes": [models.Index(fields=["until"], name="trivet_link_until")],
            },
        ),
        migrations.RunPython(_immutability.remove, migrations.RunPython.noop, atomic=False),
        migrations.RunPython(chain_events, migrations.RunPython.noop),
        migrations.RunPython(_immutability.install, migrations.RunPython.noop, atomic=False),
        migrations.RunPython(migrations.RunPython.noop, wait_for_others),
    ]
