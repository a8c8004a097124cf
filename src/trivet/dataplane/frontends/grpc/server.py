"""The server of the gRPC door, within the bounds of the protocol (section 18)."""

from __future__ import annotations

import grpc

from trivet.dataplane.frontends.grpc.servicer import Servicer

MESSAGE_OVERHEAD = 64 * 1024  # what a message may have beside a body of the largest size
MAX_METADATA = 8 * 1024
MAX_STREAMS = 100  # of one connection
MAX_CONNECTIONS = 1024
MAX_CALLS = 1024  # under way at once
MAX_WAITING = (
    8 * MAX_CALLS
)  # that came and are not looked at yet; beyond a thousand the library would cancel any it likes
IDLE_MS = 60_000  # a connection without a call
HANDSHAKE_MS = 5_000  # until a connection has said which protocol it speaks


def make_server(servicer: Servicer, max_body_bytes: int, *, shares_port: bool = False) -> grpc.aio.Server:
    """Return a server of `servicer` that listens nowhere yet; what is beyond a bound the library itself refuses.

    Compressed messages are bounded as they are and unpacked. With `shares_port` several processes may listen on one port,
    each for a part of the connections; else the second one fails to.
    """
    server = grpc.aio.server(
        maximum_concurrent_rpcs=MAX_CALLS,
        options=[
            ("grpc.max_receive_message_length", max_body_bytes + MESSAGE_OVERHEAD),
            ("grpc.max_send_message_length", -1),  # the corridor bounds an answer
            ("grpc.max_metadata_size", MAX_METADATA),
            ("grpc.absolute_max_metadata_size", MAX_METADATA),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
            ("grpc.server.max_pending_requests", MAX_WAITING),
            ("grpc.server.max_pending_requests_hard_limit", MAX_WAITING),
            ("grpc.max_connection_idle_ms", IDLE_MS),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            ("grpc.so_reuseport", int(shares_port)),
        ],
    )
    server.add_generic_rpc_handlers((servicer,))
    return server
