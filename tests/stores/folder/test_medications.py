"""The Medications of a folder: the newest copies, those that matter whole, the others known by a hash."""

import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.clinical.records import Medicine, Version
from screener.stores.folder import medications as medicines
from screener.stores.folder.medications import gathered

FOUND = st.lists(
    st.builds(
        Medicine,
        st.sampled_from(["m1", "m2", "m3", "m4"]),
        st.builds(Version, st.integers(0, 2), st.integers(0, 2)),
        st.sampled_from([b"cortisone", b"aspirin"]),
    ),
    max_size=12,
    unique_by=lambda medicine: (medicine.id, medicine.version),
)


def matters(medicine: Medicine) -> bool:
    return medicine.concept == b"cortisone"


@given(FOUND, st.integers(1, 3))
def test_the_newest_copy_of_each_says_whether_it_matters(found: list[Medicine], chunk: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        patched.setattr(medicines, "_CHUNK", chunk)
        here = gathered(found, matters, Path(name) / "m.npy")
        elsewhere = pickle.loads(pickle.dumps(here))  # noqa: S301 - as a process gets it
        for held in (here, elsewhere):
            for known in ("m1", "m2", "m3", "m4", "m5"):
                copies = [medicine for medicine in found if medicine.id == known]
                newest = max(copies, key=lambda medicine: medicine.version, default=None)
                got = held.get(known)
                assert (got is None) == (newest is None)
                assert (got is not None and got.concept == b"cortisone") == (newest is not None and matters(newest))
