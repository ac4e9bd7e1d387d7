import subprocess
import sys

import pytest

from medley.errors import MedleyError
from medley.metrics.image import METRICS, score_slices
from medley.runtime.plugins import load_plugins
from medley.runtime.registry import registered

SOUND = """
from dataclasses import dataclass
from medley.metrics.image import METRICS, Metric

@dataclass
class Distance:
    scale: "float" = 1.0

    def __call__(self, restored, reference, data_range):
        return self.scale * abs(restored - reference).max()

METRICS.register("largest", Metric(Distance(2.0), higher=False, title="largest difference"))
"""


@pytest.fixture
def write(tmp_path, forget):
    def write(content, name="plugin.py"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return write


def test_a_plugin_extends_a_table(write):
    import numpy as np

    (record,) = load_plugins([write(SOUND)])
    image = np.arange(64.0).reshape(1, 8, 8)
    assert score_slices(image + 3, image, "ct-denoise")["largest"] == [6]
    assert record.startswith("plugin.py#")
    assert type(METRICS["largest"].function).__module__ in sys.modules


def test_a_plugin_is_run_once(write, tmp_path, monkeypatch):
    path = write(SOUND)
    monkeypatch.chdir(tmp_path)
    first = load_plugins([path])
    path.write_text("this is not Python")
    assert load_plugins(["plugin.py", path]) == first * 2  # a change counts in the next process
    assert registered() == 1


def test_the_record_depends_on_the_content_only(write, forget):
    first = load_plugins([write(SOUND)])
    forget()
    assert load_plugins([write(SOUND)]) == first
    forget()
    assert load_plugins([write(SOUND + "# changed\n")]) != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = (\n", r"plugin.py, line 1: SyntaxError: '\(' was never closed"),
        (b"\x00\x01", "plugin.py.*: (SyntaxError|ValueError): source code"),
        (b"x = '\xff'\n", "plugin.py.*SyntaxError: .*utf-8"),
        ("import no_such_module_xyz\n", "plugin.py, line 1: ModuleNotFoundError: No module named 'no_such_module_xyz'"),
        ("\n\ndef f():\n    return 1 / 0\n\nf()\n", "plugin.py, line 4: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)\n", "plugin.py, line 1: SystemExit: 3"),
        ("x = 1\n", r"plugin.py registers nothing; expected a call such as NETWORKS.register\(name, entry\)"),
        ("", "registers nothing"),
        (
            "from medley.models.zoo import NETWORKS\n\nNETWORKS.register('tat', dict)\n",
            "plugin.py, line 3: there is already a network 'tat'; choose another name",
        ),
        (
            "from medley.tasks import TASKS\nTASKS.register('x', 1)\n",
            "plugin.py, line 2: the task 'x' must be a Task, but is 1",
        ),
    ],
)
def test_a_plugin_that_cannot_be_used_is_refused_in_a_sentence(write, content, message):
    modules = set(sys.modules)
    with pytest.raises(MedleyError, match=message) as refused:
        load_plugins([write(content)])
    assert "\n" not in str(refused.value)
    assert not {name for name in set(sys.modules) - modules if name.startswith("medley_plugin")}


@pytest.mark.parametrize(("name", "reason"), [("nowhere.py", "No such file"), (".", "Is a directory")])
def test_a_plugin_that_is_no_file_is_refused(tmp_path, name, reason):
    with pytest.raises(MedleyError, match=f"the plugin .* cannot be read: {reason}"):
        load_plugins([tmp_path / name])


def test_a_plugin_that_fails_adds_nothing_and_can_be_corrected(write):
    with pytest.raises(MedleyError, match="NameError"):
        load_plugins([write(SOUND + "\nundefined\n")])
    assert "largest" not in METRICS
    load_plugins([write(SOUND)])
    assert "largest" in METRICS


def test_two_plugins_with_the_same_name_of_an_entry_clash(write):
    with pytest.raises(MedleyError, match=r"other.py, line 12: there is already a metric 'largest'"):
        load_plugins([write(SOUND), write(SOUND, "other.py")])


def test_plugins_are_loaded_without_torch(write):
    path = write(
        "from medley.data.layouts.layout import LAYOUTS, Layout\nLAYOUTS.register('x', Layout('scans', print))"
    )
    code = f"import sys, medley; medley.load_plugins([{str(path)!r}]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
