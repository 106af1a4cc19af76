"""Memory that is kept from call to call."""

import torch

from landscape.linalg.workspace import Workspace

CPU = torch.device("cpu")


def test_the_same_name_has_the_same_memory():
    workspace = Workspace()
    first = workspace.take("a", (3, 4), torch.float32, CPU)
    assert workspace.take("a", (3, 4), torch.float32, CPU) is first
    smaller = workspace.take("a", (2, 5), torch.float32, CPU)
    assert smaller.data_ptr() == first.data_ptr()
    assert workspace.take("b", (3, 4), torch.float32, CPU).data_ptr() != first.data_ptr()


def test_larger_and_other_memory_is_new():
    workspace = Workspace()
    first = workspace.take("a", (3,), torch.float32, CPU)
    assert workspace.take("a", (5,), torch.float32, CPU).shape == (5,)
    other = workspace.take("a", (3,), torch.float64, CPU)
    assert (other.shape, other.dtype) == ((3,), torch.float64)
    assert workspace.take("a", (3,), torch.float32, CPU) is not first


def test_rows_are_kept_with_what_was_given():
    workspace = Workspace()
    taken = workspace.take("a", (3, 4), torch.float32, CPU).fill_(2)
    assert workspace.unbind(taken) is workspace.unbind(taken)
    assert [row.data_ptr() for row in workspace.unbind(taken)] == [row.data_ptr() for row in taken]
    foreign = torch.arange(6.0).view(2, 3)
    assert all(torch.equal(row, expected) for row, expected in zip(workspace.unbind(foreign), foreign, strict=True))
