"""The calls that ask for no prediction: what REST says of the server, its models and its repository, as messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.json_format import ParseDict

from trivet.core.errors import Unavailable
from trivet.dataplane.frontends.descriptions import describe, health
from trivet.dataplane.frontends.grpc.call import cut_name
from trivet.dataplane.frontends.grpc.codec import Message
from trivet.dataplane.frontends.grpc.descriptor import inference
from trivet.dataplane.frontends.paths import Target
from trivet.dataplane.frontends.repository import RepositoryCall
from trivet.dataplane.plane import Plane
from trivet.dataplane.protocol.messages import Caller, Scalar
from trivet.dataplane.protocol.metadata import encode

Describe = Callable[[Plane, Caller, Message], Message]


def server_live(plane: Plane) -> Message:
    """Return that this worker answers."""
    return inference.ServerLiveResponse(**health(plane, "live"))


def server_ready(plane: Plane) -> Message:
    """Return whether this worker is ready."""
    return inference.ServerReadyResponse(ready=is_ready(plane))


def is_ready(plane: Plane) -> bool:
    """True when this worker is ready: it has a snapshot and a writable log, and is not draining."""
    try:
        health(plane, "ready")
    except Unavailable:
        return False
    return True


def model_ready(plane: Plane, caller: Caller, message: Message) -> Message:
    """Return whether the model, or one version of it, would answer now."""
    return inference.ModelReadyResponse(ready=is_model_ready(plane, caller, message.name, message.version))


def is_model_ready(plane: Plane, caller: Caller, name: str, version: str = "") -> bool:
    """True when the model would answer `caller` now; raises `NotFound` where it is none, or none of theirs."""
    try:
        describe(plane, caller, Target("model_ready", cut_name(name), version or None))
    except Unavailable:
        return False
    return True


def server_metadata(plane: Plane, caller: Caller, _message: Message) -> Message:
    """Return name, release and extensions."""
    return _filled(inference.ServerMetadataResponse(), describe(plane, caller, Target("server")))


def model_metadata(plane: Plane, caller: Caller, message: Message) -> Message:
    """Return a model's versions and tensors."""
    return _filled(inference.ModelMetadataResponse(), _of_model(plane, caller, "metadata", message))


def model_configuration(plane: Plane, caller: Caller, message: Message) -> Message:
    """Return a version's configuration."""
    return _filled(inference.ModelConfigResponse(), {"config": _of_model(plane, caller, "config", message)})


def model_statistics(plane: Plane, caller: Caller, message: Message) -> Message:
    """Return the statistics of one model, or without a name of all that `caller` may view. It reads files: milliseconds."""
    told = _of_model(plane, caller, "model_statistics", message) if message.name else _of_all(plane, caller)
    return _filled(inference.ModelStatisticsResponse(), told)


def repository_index(plane: Plane, caller: Caller, message: Message) -> Message:
    """Return every version that `caller` may see, with its state in this process."""
    call = RepositoryCall(plane, caller, Target("index"))
    call.receive(encode({"ready": message.ready}))
    return _filled(inference.RepositoryIndexResponse(), {"models": call.run()})


def load(plane: Plane, caller: Caller, message: Message) -> Message:
    """Load a model in every worker. Waits for them: call it in a thread."""
    return _changed(plane, caller, message, "load", inference.RepositoryModelLoadResponse())


def unload(plane: Plane, caller: Caller, message: Message) -> Message:
    """Unload a model in every worker. Waits for them: call it in a thread."""
    return _changed(plane, caller, message, "unload", inference.RepositoryModelUnloadResponse())


def _changed(plane: Plane, caller: Caller, message: Message, kind: str, done: Message) -> Message:
    call = RepositoryCall(plane, caller, Target(kind, cut_name(message.model_name)))
    call.receive(encode({"parameters": {name: _plain(value) for name, value in message.parameters.items()}}))
    call.run()
    return done


def _plain(parameter: Message) -> Scalar:
    """Return a parameter as JSON would have it; bytes, which only refused ones have, as nothing."""
    choice = parameter.WhichOneof("choice")
    value = getattr(parameter, choice) if choice else None
    return None if isinstance(value, bytes) else value


def _of_model(plane: Plane, caller: Caller, kind: str, message: Message) -> Any:
    return describe(plane, caller, Target(kind, cut_name(message.name), message.version or None))


def _of_all(plane: Plane, caller: Caller) -> Any:
    return describe(plane, caller, Target("statistics"))


def _filled(message: Message, values: Any) -> Message:
    """Fill `message` with what REST would say; the few things it has no field for are left out."""
    ParseDict(values, message, ignore_unknown_fields=True)
    return message
