"""Every change to the registry, one function each. Doors parse, call one of these and present what it returns.

Each is one transaction that begins by taking the registry's lock, so changes form one line and every one has its own
generation; each writes one Event and sends its signals on commit. `actor` is who acts: a user of the project, who is
asked for permission first (`permission.permitted`; a refusal is an Event too), or a text that is taken at its word, as
`key:<id>`, `cli:<name>` or `process:<name>`. A door that acts for a person passes the user.

`Conflict` is raised when `expected_generation`, the generation the actor last saw, is older than the model's last
change of routes or aliases; `Refused` when the rules forbid the change now; `NotFound` and `InvalidRequest` for
names and values that name nothing. Then nothing was changed.

An action called inside a transaction of its caller commits with that one: until then it holds the lock, no worker sees
the change and no signal is sent. Never wait for workers in there.
"""

from __future__ import annotations

from trivet.control.registry.actions.approving import approve as approve, decline as decline
from trivet.control.registry.actions.golden import (
    add_golden_case as add_golden_case,
    remove_golden_case as remove_golden_case,
)
from trivet.control.registry.actions.grants import grant as grant, revoke_grant as revoke_grant
from trivet.control.registry.actions.keys import (
    issue_key as issue_key,
    limit_key as limit_key,
    revoke_key as revoke_key,
    revoke_orphaned_keys as revoke_orphaned_keys,
    rotate_key as rotate_key,
    set_anonymous as set_anonymous,
)
from trivet.control.registry.actions.loading import (
    give_up_inline as give_up_inline,
    load as load,
    unload as unload,
)
from trivet.control.registry.actions.manner import FallbackStep as FallbackStep
from trivet.control.registry.actions.redaction import set_sensitive as set_sensitive
from trivet.control.registry.actions.signing import sign_version as sign_version
from trivet.control.registry.actions.traffic import (
    promote as promote,
    roll_back as roll_back,
    set_alias as set_alias,
    set_routes as set_routes,
)
from trivet.control.registry.actions.versions import (
    mark_ready as mark_ready,
    register_version as register_version,
    reject_version as reject_version,
)
