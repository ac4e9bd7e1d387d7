"""Windows of reconstruction kernels."""

import pytest
import torch

from medley.physics.kernels import is_kernel, kernel_window

FREQUENCY = torch.linspace(0, 1, 101, dtype=torch.float64)


@pytest.mark.parametrize("name", ["ramp", "shepp-logan", "hann-1", "hann-0.8", "hann-0.25"])
def test_a_window_starts_at_one_and_never_rises(name):
    window = kernel_window(name, FREQUENCY)
    assert window[0] == 1
    assert (window.diff() <= 0).all()
    assert (window >= 0).all()


def test_the_windows_have_their_textbook_values():
    assert (kernel_window("ramp", FREQUENCY) == 1).all()
    assert float(kernel_window("shepp-logan", FREQUENCY)[-1]) == pytest.approx(2 / torch.pi)
    hann = kernel_window("hann-0.8", FREQUENCY)
    assert float(hann[40]) == pytest.approx(0.5)  # half of the cut-off
    assert (hann[80:] == 0).all()


@pytest.mark.parametrize(
    "name", ["", "Ramp", "hann", "hann-", "hann-0", "hann-0.0", "hann-1.01", "hann--0.5", "hann-nan"]
)
def test_other_names_are_no_kernels(name):
    assert not is_kernel(name)
    with pytest.raises(ValueError, match="there is no kernel"):
        kernel_window(name, FREQUENCY)
