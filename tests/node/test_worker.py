"""Which series are processed, and what becomes of those that fail."""

import pytest
from pydicom import dcmread
from tests.node.made_node import SOCKETS, copy_files, send, states, step

from medley.errors import MedleyError
from medley.node.receiver import Receiver

pytestmark = SOCKETS


def receive(node, files, clock):
    with Receiver(node.intake):
        assert send(node, files) == [0] * len(files)
    clock.pass_(500)


def test_a_series_that_no_rule_selects_is_skipped_and_its_files_are_removed(node, phantoms, tmp_path, clock):
    receive(node, phantoms.write_mr_series(tmp_path / "mr", (2, 8, 8)), clock)
    step(node)
    assert states(node) == ["skipped"]
    assert list((node.settings.folder / "objects").iterdir()) == []


@pytest.mark.parametrize(
    ("rule", "selected"),
    [
        ({}, True),
        ({"description": "*THIN*"}, True),
        ({"description": "*thick*"}, False),
        ({"sender": "SCANNER"}, True),
        ({"sender": "OTHER"}, False),
        ({"image_type": ["ORIGINAL"]}, True),
        ({"image_type": ["DERIVED"]}, False),
        ({"minimum_images": 5}, True),
        ({"minimum_images": 6}, False),
    ],
)
def test_rules(make_node, phantoms, tmp_path, clock, rule, selected):
    def named(one, k):
        one.SeriesDescription = "Head thin 1.0"

    node = make_node(rules=[{"model": "slab", "modality": "CT", "send_to": ["pacs"], **rule}])
    receive(node, phantoms.write_ct_series(tmp_path / "ct", change=named), clock)
    node.worker.close_complete()
    assert states(node) == ["ready" if selected else "skipped"]


def test_a_multi_frame_object_is_one_series_of_many_images(make_node, phantoms, tmp_path, clock):
    rules = [{"model": "slab", "modality": "CT", "minimum_images": 5, "send_to": ["pacs"]}]
    node = make_node(rules=rules)
    receive(node, [phantoms.write_enhanced(tmp_path / "e.dcm", phantoms.values((5, 8, 8), 0, 900), "CT")], clock)
    step(node)
    assert states(node) == ["done"]


def test_what_medley_made_is_never_processed_again(node, series, clock):
    from pydicom.dataset import Dataset

    made = []
    for file in series:
        one = dcmread(file)
        item = Dataset()
        item.Manufacturer = "medley"
        one.ContributingEquipmentSequence = [item]
        one.save_as(file)
        made.append(file)
    receive(node, made, clock)
    step(node)
    assert states(node) == ["skipped"]


def test_a_series_that_fails_is_set_aside_with_its_reason_and_can_be_tried_again(make_node, series, clock, archive):
    broken = [True]

    def process(source, output, rule):
        if broken[0]:
            output.mkdir()
            (output / "half.dcm").write_bytes(b"half")
            raise MedleyError("there is a gap between the slices")
        copy_files(source, output, rule)

    node = make_node(process)
    receive(node, series, clock)
    step(node)
    (entry,) = node.queue.entries()
    assert (entry.state, entry.reason) == ("aside", "there is a gap between the slices")
    assert not list((node.settings.folder / "results").iterdir())
    assert not any("gap" in line for line in node.lines)  # a reason may hold what a header says
    assert archive.received == []
    broken[0] = False
    assert node.queue.retry(1, clock()) == "ready"
    step(node)
    assert states(node) == ["done"]


def test_an_interrupt_leaves_the_series_in_the_queue(make_node, series, clock):
    def process(source, output, rule):
        raise KeyboardInterrupt

    node = make_node(process)
    receive(node, series, clock)
    with pytest.raises(KeyboardInterrupt):
        step(node)
    again = make_node()
    step(again)
    assert states(again) == ["done"]


def test_a_series_whose_number_of_objects_is_known_waits_for_all_of_them(node, series, clock):
    node.queue.expect(str(dcmread(series[0]).SeriesInstanceUID), 5, clock())
    with Receiver(node.intake):
        send(node, series[:3])
        clock.pass_(60)
        step(node)
        assert states(node) == ["receiving"]
        send(node, series[3:])
    step(node)
    assert states(node) == ["done"]


def test_finished_series_are_removed_after_the_days_that_are_configured(node, series, clock):
    receive(node, series, clock)
    step(node)
    clock.pass_(2 * 86400 - 10)
    node.worker.clean_up()
    assert states(node) == ["done"]
    clock.pass_(20)
    node.worker.clean_up()
    assert states(node) == []
    folder = node.settings.folder
    assert [*(folder / "objects").iterdir(), *(folder / "results").iterdir()] == []
