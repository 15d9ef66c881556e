"""The training form in PyTorch's operations agrees with the compiled error and gradient."""

import pytest
import torch
from made import random_network

from training.form import TrainingFSRCNN


# Without a margin and with one; of a whole HR patch and of one that lacks its last row and column.
@pytest.mark.parametrize("margin", [0, 2])
@pytest.mark.parametrize("missing", [0, 1])
def test_training_form_in_pytorchs_operations_agrees_with_the_compiled_one(margin: int, missing: int):
    compiled, plain = (TrainingFSRCNN.from_model(random_network(3)) for _ in range(2))
    plain.double()
    lr, hr = torch.rand(2, 1, 8 + 2 * margin, 8 + 2 * margin), torch.rand(2, 1, 24 - missing, 24 - missing)
    error, expected = compiled.error(lr, hr, False), plain.error(lr.double(), hr.double(), False)
    torch.testing.assert_close(error.double(), expected, rtol=1e-5, atol=0)
    error.backward()
    expected.backward()
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        largest = theirs.grad.abs().max().item()
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=1e-5 * largest)
