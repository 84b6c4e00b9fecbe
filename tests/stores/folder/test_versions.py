"""Which copies are outdated, told to the shards that hold them."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from screener.clinical.records import Version
from screener.stores.folder.versions import NOWHERE, Index, Tracer, is_newest, key_of, outdated, read_traces

COPIES = st.lists(
    st.tuples(
        st.sampled_from(["Observation", "Condition"]),
        st.sampled_from(["o1", "o2", "o3"]),
        st.builds(Version, st.integers(0, 2), st.integers(0, 2)),
        st.sampled_from([NOWHERE, 0, 1, 2]),
    ),
    max_size=14,
)


@given(COPIES, st.integers(1, 5), st.integers(0, 14))
def test_a_share_is_told_of_every_outdated_copy_and_of_no_other(
    copies: list[tuple[str, str, Version, int]], shards: int, cut: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, tracer = Path(name), Tracer()
        segments = []
        for part in (copies[:cut], copies[cut:]):
            for copy in part:
                tracer.saw(*copy)
            segments.append(tracer.flush(folder / "traces", shards))
        told: dict[int, dict[bytes, tuple[int, int]]] = {}
        for deal in range(shards):
            for shard, entries in outdated(read_traces(folder, segments, deal)).items():
                told.setdefault(shard, {}).update({key: (us, number) for key, us, number in entries})
        index = Index(folder, segments, shards)
        keys = {key_of(kind, name) for kind, name, _, _ in copies}
        assert index.shards_with(keys) == {shard for *_, shard in copies if shard != NOWHERE}
        newest_of = index.newest(keys)
    for kind, name, version, shard in copies:
        newest = max(copy[2] for copy in copies if copy[:2] == (kind, name))
        assert newest_of[key_of(kind, name)] == (newest.updated_us, newest.number)
        entry = told.get(shard, {}).get(key_of(kind, name))
        counts = entry is None or is_newest(version, entry)
        assert shard == NOWHERE or counts == (version == newest)


def test_two_types_may_share_an_id() -> None:
    assert key_of("Observation", "1") != key_of("Condition", "1")
