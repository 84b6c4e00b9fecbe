"""What is decoded, and how exactly."""

from decimal import Decimal

import msgspec

from screener.clinical import wire


def test_a_resource_is_decoded_by_its_type_wherever_the_type_stands() -> None:
    first = wire.decode_resource(b'{"resourceType":"Patient","id":"p1","gender":"female"}')
    last = wire.decode_resource(b'{"id":"p1","gender":"female","resourceType":"Patient"}')
    assert first == last == wire.Patient(id="p1", gender="female")


def test_elements_that_we_do_not_read_may_be_anything() -> None:
    found = wire.decode_resource(
        b'{"resourceType":"Patient","id":"p1","name":7,"extension":[{"url":"x","valueRange":[]}]}'
    )
    assert found == wire.Patient(id="p1", extension=(wire.Extension(url="x"),))


def test_numbers_are_kept_as_written() -> None:
    quantity = wire.decode_quantity(b'{"value":0.8450,"unit":"mmol/L"}')
    assert bytes(quantity.value) == b"0.8450"
    duration = msgspec.json.decode(b'{"value":0.10}', type=wire.Duration)
    assert str(duration.value) == "0.10"
    assert duration.value == Decimal("0.1")


def test_present() -> None:
    assert [wire.present(msgspec.Raw(raw)) for raw in (b"", b"null", b"[]", b"{}", b"0")] == [
        False,
        False,
        False,
        True,
        True,
    ]


def test_excluding_types() -> None:
    assert sorted(wire.EXCLUDING) == [
        "Condition",
        "MedicationAdministration",
        "MedicationDispense",
        "MedicationRequest",
        "MedicationStatement",
        "Procedure",
    ]
