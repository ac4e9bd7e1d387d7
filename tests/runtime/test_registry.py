import pytest

from medley.errors import MedleyError
from medley.runtime.registry import Registry, registered, remove_registered, resolved


@pytest.fixture
def table():
    before = registered()
    entries = {"half": 0.5, "late": "fractions:Fraction"}
    yield Registry("number", "a float", lambda entry: isinstance(entry, float), entries, reserved=("pi",))
    remove_registered(before)


def test_entries_of_the_package_and_registered_ones_are_in_one_table(table):
    from fractions import Fraction

    table.register("third", 1 / 3)
    assert dict(table) == {"half": 0.5, "late": Fraction, "third": 1 / 3}
    assert table.named("third") == table["third"]
    assert resolved("fractions:Fraction") is Fraction


def test_an_entry_is_not_imported_before_it_is_used():
    table = Registry("module", "anything", callable, {"a": "no_such_module:x"})
    assert "a" in table
    assert list(table) == ["a"]
    with pytest.raises(ModuleNotFoundError):
        table["a"]


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("half", 0.25, "there is already a number 'half'; choose another name"),
        ("late", 0.25, "there is already a number 'late'"),
        ("pi", 3.1, "a number cannot be called 'pi', which has another meaning"),
        ("one", 1, "the number 'one' must be a float, but is 1"),
        ("a/b", 0.1, "the number 'a/b' cannot be used as a file name"),
    ],
)
def test_what_cannot_be_registered(table, name, entry, message):
    before = dict(table), registered()
    with pytest.raises(MedleyError, match=message):
        table.register(name, entry)
    assert (dict(table), registered()) == before


def test_an_unknown_name_lists_those_that_exist(table):
    with pytest.raises(MedleyError, match="there is no number 'haf'; the numbers are half, late; did you mean 'half'"):
        table.named("haf")
    assert "haf" not in table
    assert table.get("haf") is None


def test_what_was_registered_can_be_removed(table):
    before = registered()
    table.register("a", 0.1)
    table.register("b", 0.2)
    remove_registered(before)
    assert list(table) == ["half", "late"]
