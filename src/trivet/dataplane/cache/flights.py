"""Single flight: of those who ask the same at once, one runs the model and the others wait for its answer."""

from __future__ import annotations

import threading

from trivet.dataplane.cache.memory import Arrays


class Flight:
    """One run under way. `arrays` is None until it has landed, and for ever if it failed."""

    __slots__ = ("arrays", "inputs", "landed")

    def __init__(self, inputs: bytes) -> None:
        self.inputs = inputs
        self.landed = threading.Event()
        self.arrays: Arrays | None = None


class Flights:
    """The runs under way in this process, by key. Thread-safe."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}
        self._lock = threading.Lock()

    def board(self, key: bytes, inputs: bytes) -> tuple[Flight | None, bool]:
        """Return the flight for these `inputs`, and whether it is the caller's to fly; None if the key flies for others."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = Flight(inputs)
                return flight, True
        return (flight if flight.inputs == inputs else None), False

    def land(self, key: bytes, flight: Flight, arrays: Arrays | None) -> None:
        """Wake everyone aboard; with None they learn that they have to run the model themselves."""
        flight.arrays = arrays
        with self._lock:
            del self._flights[key]
        flight.landed.set()
