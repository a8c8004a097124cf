"""The registry's tables. They are changed by `actions` only; everything else reads them.

Their rules stand in the database: names have a grammar, a version and an Event are never edited (triggers of the
first migration), a model has each version number, alias and route once.
"""

from __future__ import annotations

from trivet.control.registry.models.claims import BundleClaim as BundleClaim
from trivet.control.registry.models.events import (
    ACTOR_LENGTH as ACTOR_LENGTH,
    OF_NO_SNAPSHOT as OF_NO_SNAPSHOT,
    REFUSAL as REFUSAL,
    REFUSED_PROMOTION as REFUSED_PROMOTION,
    STATE_ID as STATE_ID,
    Event as Event,
    RegistryState as RegistryState,
)
from trivet.control.registry.models.golden import GoldenCaseRow as GoldenCaseRow
from trivet.control.registry.models.grants import Grant as Grant
from trivet.control.registry.models.keys import USE_NOTED_SECONDS as USE_NOTED_SECONDS, ApiKey as ApiKey
from trivet.control.registry.models.proposals import Proposal as Proposal, ProposalState as ProposalState
from trivet.control.registry.models.registered_models import RegisteredModel as RegisteredModel
from trivet.control.registry.models.traffic import Route as Route, Shadow as Shadow
from trivet.control.registry.models.versions import (
    CHALLENGER as CHALLENGER,
    CHAMPION as CHAMPION,
    Alias as Alias,
    ModelVersion as ModelVersion,
    VersionStatus as VersionStatus,
)
from trivet.control.registry.models.workers import Worker as Worker, WorkerKind as WorkerKind
