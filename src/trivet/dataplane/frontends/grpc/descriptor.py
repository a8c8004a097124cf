"""The messages of the gRPC services, built from the tables below (protocol, section 15), and of no generated code.

They live in a descriptor pool of their own. The default pool of a process takes one family of `inference.*` messages
only, so a process that imports tritonclient beside this room could not load both.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Fields = dict[str, tuple[int, str]]
"""Field name -> number and type: a scalar or a message of this table, behind `repeated`, `map` (of texts) or `oneof`."""

_PARAMETERS = "map InferParameter"
_NAMED: Fields = {"name": (1, "string"), "version": (2, "string")}
_CHANGE: Fields = {
    "repository_name": (1, "string"),
    "model_name": (2, "string"),
    "parameters": (3, "map ModelRepositoryParameter"),
}
_TENSOR: Fields = {
    "name": (1, "string"),
    "datatype": (2, "string"),
    "shape": (3, "repeated int64"),
}

INFERENCE: dict[str, Fields] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {**_NAMED, "extensions": (3, "repeated string")},
    "ModelMetadataRequest": _NAMED,
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "repeated string"),
        "platform": (3, "string"),
        "inputs": (4, "repeated ModelMetadataResponse.TensorMetadata"),
        "outputs": (5, "repeated ModelMetadataResponse.TensorMetadata"),
        "properties": (6, "map string"),
    },
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": {
        "bool_param": (1, "oneof bool"),
        "int64_param": (2, "oneof int64"),
        "string_param": (3, "oneof string"),
        "double_param": (4, "oneof double"),
        "uint64_param": (5, "oneof uint64"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "repeated bool"),
        "int_contents": (2, "repeated int32"),
        "int64_contents": (3, "repeated int64"),
        "uint_contents": (4, "repeated uint32"),
        "uint64_contents": (5, "repeated uint64"),
        "fp32_contents": (6, "repeated float"),
        "fp64_contents": (7, "repeated double"),
        "bytes_contents": (8, "repeated bytes"),
    },
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, _PARAMETERS),
        "inputs": (5, "repeated ModelInferRequest.InferInputTensor"),
        "outputs": (6, "repeated ModelInferRequest.InferRequestedOutputTensor"),
        "raw_input_contents": (7, "repeated bytes"),
    },
    "ModelInferRequest.InferInputTensor": {
        **_TENSOR,
        "parameters": (4, _PARAMETERS),
        "contents": (5, "InferTensorContents"),
    },
    "ModelInferRequest.InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, _PARAMETERS)},
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, _PARAMETERS),
        "outputs": (5, "repeated ModelInferResponse.InferOutputTensor"),
        "raw_output_contents": (6, "repeated bytes"),
    },
    "ModelInferResponse.InferOutputTensor": {
        **_TENSOR,
        "parameters": (4, _PARAMETERS),
        "contents": (5, "InferTensorContents"),
    },
    "ModelStreamInferResponse": {"error_message": (1, "string"), "infer_response": (2, "ModelInferResponse")},
    "ModelConfigRequest": _NAMED,
    "ModelConfigResponse": {"config": (1, "ModelConfig")},
    "ModelConfig": {
        "name": (1, "string"),
        "platform": (2, "string"),
        "version_policy": (3, "ModelVersionPolicy"),
        "max_batch_size": (4, "int32"),
        "input": (5, "repeated ModelInput"),
        "output": (6, "repeated ModelOutput"),
        "instance_group": (7, "repeated ModelInstanceGroup"),
        "dynamic_batching": (11, "ModelDynamicBatching"),
        "parameters": (14, "map ModelParameter"),
        "backend": (17, "string"),
        "response_cache": (24, "ModelResponseCache"),
    },
    "ModelVersionPolicy": {"specific": (3, "ModelVersionPolicy.Specific")},
    "ModelVersionPolicy.Specific": {"versions": (1, "repeated int64")},
    "ModelInput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (4, "repeated int64")},
    "ModelOutput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (3, "repeated int64")},
    "ModelInstanceGroup": {"name": (1, "string"), "count": (2, "int32"), "kind": (4, "ModelInstanceGroup.Kind")},
    "ModelDynamicBatching": {"max_queue_delay_microseconds": (2, "uint64")},
    "ModelParameter": {"string_value": (1, "string")},
    "ModelResponseCache": {"enable": (1, "bool")},
    "ModelStatisticsRequest": _NAMED,
    "ModelStatisticsResponse": {"model_stats": (1, "repeated ModelStatistics")},
    "ModelStatistics": {
        **_NAMED,
        "last_inference": (3, "uint64"),
        "inference_count": (4, "uint64"),
        "execution_count": (5, "uint64"),
        "inference_stats": (6, "InferStatistics"),
        "batch_stats": (7, "repeated InferBatchStatistics"),
        "memory_usage": (8, "repeated MemoryUsage"),
    },
    "InferStatistics": {
        "success": (1, "StatisticDuration"),
        "fail": (2, "StatisticDuration"),
        "queue": (3, "StatisticDuration"),
        "compute_input": (4, "StatisticDuration"),
        "compute_infer": (5, "StatisticDuration"),
        "compute_output": (6, "StatisticDuration"),
        "cache_hit": (7, "StatisticDuration"),
        "cache_miss": (8, "StatisticDuration"),
    },
    "InferBatchStatistics": {
        "batch_size": (1, "uint64"),
        "compute_input": (2, "StatisticDuration"),
        "compute_infer": (3, "StatisticDuration"),
        "compute_output": (4, "StatisticDuration"),
    },
    "MemoryUsage": {"type": (1, "string"), "id": (2, "int64"), "byte_size": (3, "uint64")},
    "StatisticDuration": {"count": (1, "uint64"), "ns": (2, "uint64")},
    "RepositoryIndexRequest": {"repository_name": (1, "string"), "ready": (2, "bool")},
    "RepositoryIndexResponse": {"models": (1, "repeated RepositoryIndexResponse.ModelIndex")},
    "RepositoryIndexResponse.ModelIndex": {**_NAMED, "state": (3, "string"), "reason": (4, "string")},
    "RepositoryModelLoadRequest": _CHANGE,
    "RepositoryModelLoadResponse": {},
    "RepositoryModelUnloadRequest": _CHANGE,
    "RepositoryModelUnloadResponse": {},
    "ModelRepositoryParameter": {
        "bool_param": (1, "oneof bool"),
        "int64_param": (2, "oneof int64"),
        "string_param": (3, "oneof string"),
        "bytes_param": (4, "oneof bytes"),
    },
}
INFERENCE_ENUMS: dict[str, dict[str, int]] = {
    "DataType": {
        "TYPE_INVALID": 0,
        "TYPE_BOOL": 1,
        "TYPE_UINT8": 2,
        "TYPE_UINT16": 3,
        "TYPE_UINT32": 4,
        "TYPE_UINT64": 5,
        "TYPE_INT8": 6,
        "TYPE_INT16": 7,
        "TYPE_INT32": 8,
        "TYPE_INT64": 9,
        "TYPE_FP16": 10,
        "TYPE_FP32": 11,
        "TYPE_FP64": 12,
        "TYPE_STRING": 13,
        "TYPE_BF16": 14,
    },
    "ModelInstanceGroup.Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3},
}
HEALTH: dict[str, Fields] = {
    "HealthCheckRequest": {"service": (1, "string")},
    "HealthCheckResponse": {"status": (1, "HealthCheckResponse.ServingStatus")},
}
HEALTH_ENUMS: dict[str, dict[str, int]] = {
    "HealthCheckResponse.ServingStatus": {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3}
}

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    word: getattr(_Field, f"TYPE_{word.upper()}")
    for word in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64")
}


class Messages:
    """The message classes of one package, as attributes: `messages.ModelInferRequest()`."""

    def __init__(self, package: str, tables: dict[str, Fields], enums: dict[str, dict[str, int]]) -> None:
        pool = descriptor_pool.DescriptorPool()
        pool.Add(_File(package, enums).of(tables))
        self._pool = pool
        self._package = package
        for name in tables:
            if "." not in name:
                descriptor = pool.FindMessageTypeByName(f"{package}.{name}")
                setattr(self, name, message_factory.GetMessageClass(descriptor))

    def __getattr__(self, name: str) -> Any:  # a class that protobuf makes
        raise AttributeError(f"{self._package} has no message {name}.")


class _File:
    """One file of definitions in the making. Message and field are protobuf's own, which have no types here."""

    def __init__(self, package: str, enums: dict[str, dict[str, int]]) -> None:
        self._file = descriptor_pb2.FileDescriptorProto(
            name=f"trivet/{package}.proto", package=package, syntax="proto3"
        )
        self._prefix = f".{package}."
        self._enums = enums

    def of(self, tables: dict[str, Fields]) -> Any:
        """Return the file with the messages of `tables`; a nested one stands after the one it is nested in."""
        file = self._file
        made: dict[str, Any] = {}
        for name in tables:
            outer, _, own = name.rpartition(".")
            made[name] = made[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
        for name, members in self._enums.items():
            outer, _, own = name.rpartition(".")
            enum = made[outer].enum_type.add(name=own) if outer else file.enum_type.add(name=own)
            for member, number in members.items():
                enum.value.add(name=member, number=number)
        for name, fields in tables.items():
            for field, (number, told) in fields.items():
                if told.startswith("map "):
                    self._add_map(made[name], name, field, number, told.removeprefix("map "))
                else:
                    self._add(made[name], field, number, told)
        return file

    def _add(self, message: Any, name: str, number: int, told: str) -> Any:
        *marks, kind = told.split(" ")
        field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
        if "repeated" in marks:
            field.label = _Field.LABEL_REPEATED
        if "oneof" in marks:
            if not message.oneof_decl:
                message.oneof_decl.add(name="choice")
            field.oneof_index = 0
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type = _Field.TYPE_ENUM if kind in self._enums else _Field.TYPE_MESSAGE
            field.type_name = self._prefix + kind
        return field

    def _add_map(self, message: Any, path: str, name: str, number: int, kind: str) -> None:
        """Add a map as the format has it: entries of a nested message, of a key and a value."""
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        self._add(entry, "key", 1, "string")
        self._add(entry, "value", 2, kind)
        self._add(message, name, number, f"repeated {path}.{entry.name}")


inference = Messages("inference", INFERENCE, INFERENCE_ENUMS)
health = Messages("grpc.health.v1", HEALTH, HEALTH_ENUMS)
