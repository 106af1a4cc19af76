"""SAM and ASAM against the formula written out in NumPy, against autograd through the worst step, and in use."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from landscape.errors import RequestError
from landscape.linalg.norms import Lp
from landscape.optimizers.base import NonFiniteGradientError
from landscape.optimizers.registry import OPTIMIZERS, make_optimizer, resolve_hyperparameters, takes_full_batch
from landscape.optimizers.sam import SAM
from landscape.settings import defaults

P = (1.0, 1.5, 2.0, 3.0, math.inf)
BASES = [name for name, entry in OPTIMIZERS.items() if "base" not in defaults(entry.build)]
SHAPES = ((3, 4), (5,))
CURVATURES = [np.random.default_rng([0, i]).uniform(0.2, 2, shape) for i, shape in enumerate(SHAPES)]


def gradients(xs, step):
    """Of a quartic, with a linear term that is a function of the step."""
    noise = [np.random.default_rng([1, step, i]).normal(size=shape) for i, shape in enumerate(SHAPES)]
    return [a * x + x**3 + 0.3 * n for a, x, n in zip(CURVATURES, xs, noise, strict=True)]


def loss(xs, step):
    noise = [torch.from_numpy(np.random.default_rng([1, step, i]).normal(size=s)) for i, s in enumerate(SHAPES)]
    curvatures = [torch.from_numpy(a) for a in CURVATURES]
    parts = zip(curvatures, xs, noise, strict=True)
    return sum((a * x**2 / 2 + x**4 / 4 + 0.3 * n * x).sum() for a, x, n in parts)


def start():
    return [
        torch.from_numpy(np.random.default_rng([2, i]).normal(size=s)).requires_grad_() for i, s in enumerate(SHAPES)
    ]


def closure_of(optimizer, evaluate):
    def closure():
        optimizer.zero_grad()
        value = evaluate()
        value.backward()
        return value

    return closure


def worst(gs, xs, rho, p, eta=None):
    """The lecture's step, ρ sign(g) |g|^(q-1) / (Σ|g|^q)^(1/p), over all tensors; in units of |x| + η for ASAM."""
    units = [np.ones_like(x) if eta is None else np.abs(x) + eta for x in xs]
    g = np.concatenate([(t * g).ravel() for t, g in zip(units, gs, strict=True)])
    if p == 1:
        step = np.where(np.abs(g) == np.abs(g).max(), np.sign(g), 0)
    elif math.isinf(p):
        step = np.sign(g)
    else:
        q = p / (p - 1)
        step = np.sign(g) * np.abs(g) ** (q - 1) / (np.abs(g) ** q).sum() ** (1 / p)
    pieces = np.split(rho * step, np.cumsum([x.size for x in xs])[:-1])
    return [t * piece.reshape(x.shape) for t, piece, x in zip(units, pieces, xs, strict=True)]


@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize("eta", [None, 0.01], ids=["sam", "asam"])
def test_twenty_steps_of_the_formula(p, eta):
    tensors = start()
    name, extra = ("sam", {}) if eta is None else ("asam", {"eta": eta})
    optimizer = make_optimizer(name, tensors, rho=0.2, p=p, **extra, **{"base.lr": 0.05, "base.momentum": 0.9})
    xs, vs = [t.detach().numpy().copy() for t in tensors], [np.zeros(s) for s in SHAPES]
    for step in range(20):
        steps = worst(gradients(xs, step), xs, 0.2, p, eta)
        gs = gradients([x + e for x, e in zip(xs, steps, strict=True)], step)
        vs = [0.9 * v + g for v, g in zip(vs, gs, strict=True)]
        expected_loss = loss([torch.from_numpy(x) for x in xs], step)
        xs = [x - 0.05 * v for x, v in zip(xs, vs, strict=True)]
        found = optimizer.step(closure_of(optimizer, lambda step=step: loss(tensors, step)))
        torch.testing.assert_close(found.detach(), expected_loss)
        for tensor, x, g in zip(tensors, xs, gs, strict=True):
            assert np.abs(tensor.detach().numpy() - x).max() <= 1e-12 * np.abs(x).max()
            np.testing.assert_allclose(tensor.grad.numpy(), g, rtol=1e-12, atol=1e-12)  # that of the worst point


@pytest.mark.parametrize("p", P)
def test_the_step_is_minus_rho_times_the_oracle_and_undone_exactly(p):
    tensors = start()
    optimizer = make_optimizer("sam", tensors, rho=0.3, p=p)
    before = [t.detach().clone() for t in tensors]
    places = [t.data_ptr() for t in tensors]
    closure_of(optimizer, lambda: loss(tensors, 0))()
    g = torch.cat([t.grad.reshape(-1) for t in tensors])
    own = [t.grad for t in tensors]
    kept = [t.grad.clone() for t in tensors]
    optimizer.perturb()
    step = torch.cat([(t.detach() - b).reshape(-1) for t, b in zip(tensors, before, strict=True)])
    torch.testing.assert_close(step, -0.3 * Lp(p).lmo(g), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(Lp(p).norm(step), torch.tensor(0.3, dtype=torch.float64))
    optimizer.restore()
    assert all(torch.equal(t, b) for t, b in zip(tensors, before, strict=True))
    assert places == [t.data_ptr() for t in tensors]
    assert all(t.grad is g and torch.equal(g, k) for t, g, k in zip(tensors, own, kept, strict=True))


@pytest.mark.parametrize("name", BASES)
def test_rho_zero_is_the_base_to_the_last_bit(name):
    paths = []
    for around in (False, True):
        tensors = start()
        optimizer = make_optimizer("sam", tensors, base=name, rho=0) if around else make_optimizer(name, tensors)
        path = []
        for step in range(4):
            optimizer.step(closure_of(optimizer, lambda tensors=tensors, step=step: loss(tensors, step)))
            path.append([t.detach().clone() for t in tensors])
        paths.append(path)
    for plain, wrapped in zip(*paths, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(plain, wrapped, strict=True))


@pytest.mark.parametrize("name", BASES)
def test_every_base_steps_along_the_gradient_at_the_worst_point(name):
    """The base alone, given that gradient, goes the same way; L-BFGS asks for more of them as it goes."""
    tensors, others = start(), start()
    optimizer, alone = make_optimizer("sam", tensors, base=name, rho=0.1), make_optimizer(name, others)

    def surrogate(step):
        alone.zero_grad()
        xs = [t.detach().numpy().copy() for t in others]
        with torch.no_grad():
            for t, x, e in zip(others, xs, worst(gradients(xs, step), xs, 0.1, 2.0), strict=True):
                t.copy_(torch.from_numpy(x + e))
        value = loss(others, step)
        value.backward()
        with torch.no_grad():
            for t, x in zip(others, xs, strict=True):
                t.copy_(torch.from_numpy(x))
        return value

    for step in range(4):
        optimizer.step(closure_of(optimizer, lambda step=step: loss(tensors, step)))
        alone.step(lambda step=step: surrogate(step))
        for t, other in zip(tensors, others, strict=True):
            torch.testing.assert_close(t, other, rtol=1e-9, atol=1e-9)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 6), nn.GELU(), nn.Linear(6, 4)
    ).double()


def batch(seed, size=12):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 1, 6, 6, dtype=torch.float64, generator=generator)
    return x, torch.randint(4, (size,), generator=generator)


def value_of(model, seed=0):
    x, y = batch(seed)
    return nn.functional.cross_entropy(model(x), y)


@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize("eta", [None, 0.1], ids=["sam", "asam"])
def test_the_exact_gradient_is_autograds_through_the_worst_step(p, eta):
    model = network()
    x, y = batch(0)
    weights = {name: w.detach().clone().requires_grad_() for name, w in model.named_parameters()}

    def evaluate(values):
        buffers = {name: b.clone() for name, b in model.named_buffers()}
        return nn.functional.cross_entropy(functional_call(model, {**values, **buffers}, (x,)), y)

    gs = torch.autograd.grad(evaluate(weights), list(weights.values()), create_graph=True)
    units = [torch.ones_like(w) if eta is None else w.abs() + eta for w in weights.values()]
    g = torch.cat([(t * g).reshape(-1) for t, g in zip(units, gs, strict=True)])
    if p == 1:
        step = torch.where(g.abs() == g.abs().max(), g.sign(), 0)
    elif math.isinf(p):
        step = g.sign()
    else:
        q = p / (p - 1)
        step = g.sign() * g.abs() ** (q - 1) / (g.abs() ** q).sum() ** (1 / p)
    pieces = torch.split(0.2 * step, [w.numel() for w in weights.values()])
    moved = {n: w + t * e.view(w.shape) for (n, w), t, e in zip(weights.items(), units, pieces, strict=True)}
    expected = torch.autograd.grad(evaluate(moved), list(weights.values()))

    name, extra = ("sam", {}) if eta is None else ("asam", {"eta": eta})
    optimizer = make_optimizer(name, model, rho=0.2, p=p, exact=True, **extra)
    statistics = copy.deepcopy(model)
    statistics(x)
    optimizer.step(closure_of(optimizer, lambda: nn.functional.cross_entropy(model(x), y)))
    for parameter, one in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, one, rtol=1e-9, atol=1e-12)
    for ours, plain in zip(model.buffers(), statistics.buffers(), strict=True):
        assert torch.equal(ours, plain)
    plain = make_optimizer(name, network(), rho=0.2, p=p, **extra)
    assert isinstance(plain, SAM)


def test_the_exact_gradient_differs_and_needs_one_product_more():
    calls, ends = [], []
    for exact in (False, True):
        model = network()
        optimizer = make_optimizer("sam", model, rho=0.2, exact=exact)
        count = [0]

        def evaluate(model=model, count=count):
            count[0] += 1
            return value_of(model)

        optimizer.step(closure_of(optimizer, evaluate))
        calls.append(count[0])
        ends.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]))
    assert calls == [2, 3]
    assert (ends[0] - ends[1]).norm() > 1e-3 * ends[0].norm()


@pytest.mark.parametrize("p", P)
def test_the_exact_gradient_where_a_gradient_is_zero(p):
    """f = x + xy at (0, 1): g = (2, 0), so that the step along y is 0 but for p = 2 not its derivative with x."""
    x = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer("sam", [x], rho=0.2, p=p, exact=True)
    optimizer.step(closure_of(optimizer, lambda: x[0] + x[0] * x[1]))
    # The worst point is (ρ, 1), the gradient there (2, ρ); for p = 2 the step turns by ρ dx/|g| towards y as x grows.
    expected = torch.tensor([2.0 + (0.2 * 0.2 / 2 if p == 2 else 0.0), 0.2], dtype=torch.float64)
    torch.testing.assert_close(x.grad, expected)


def test_what_forward_mode_lacks_is_named():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            return 3 * ctx.saved_tensors[0] ** 2 * g

    x = torch.ones(2, requires_grad=True)
    optimizer = make_optimizer("sam", [x], exact=True)
    with pytest.raises(RequestError, match="exact=false"):
        optimizer.step(closure_of(optimizer, lambda: Cube.apply(x).sum()))
    assert x.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("exact", [False, True])
def test_micro_batches_have_a_worst_point_each(exact):
    model = network().eval()
    sizes = (8, 4, 4)
    parts = [batch(seed, size) for seed, size in enumerate(sizes)]
    total = None
    for (x, y), size in zip(parts, sizes, strict=True):
        other = copy.deepcopy(model)
        alone = make_optimizer("sam", other, rho=0.2, exact=exact)
        alone.step(closure_of(alone, lambda other=other, x=x, y=y: nn.functional.cross_entropy(other(x), y)))
        g = torch.cat([p.grad.reshape(-1) for p in other.parameters()]) * size / 16
        total = g if total is None else total + g
    losses = [
        nn.functional.cross_entropy(model(x), y).detach() * size / 16 for (x, y), size in zip(parts, sizes, strict=True)
    ]
    optimizer = make_optimizer("sam", model, rho=0.2, exact=exact, **{"base.lr": 0.1})
    before = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    closures = [closure_of(optimizer, lambda x=x, y=y: nn.functional.cross_entropy(model(x), y)) for x, y in parts]
    found = optimizer.step(closures, weights=sizes)
    torch.testing.assert_close(found, sum(losses))
    torch.testing.assert_close(torch.cat([p.grad.reshape(-1) for p in model.parameters()]), total)
    after = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    torch.testing.assert_close(after, before - 0.1 * total)
    with pytest.raises(RequestError, match="positive weight"):
        optimizer.step(closures, weights=[1.0])
    with pytest.raises(RequestError, match="closures"):
        optimizer.step([])


def test_worst_points_of_m_samples_need_a_closure_each():
    model = network()
    optimizer = make_optimizer("sam", model, m=4)
    closure = closure_of(optimizer, lambda: value_of(model))
    with pytest.raises(RequestError, match="m=4 takes a list of closures, one for each 4 samples"):
        optimizer.step(closure)
    optimizer.step([closure])
    assert copy.deepcopy(optimizer).m == 4


@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize("exact", [False, True])
def test_the_gradient_alone_scales_as_the_loss_does(p, exact):
    """So that a loss may be scaled, and its gradient unscaled before the step."""
    found = []
    for scale in (1.0, 1024.0):
        tensors = start()
        optimizer = make_optimizer("asam", tensors, p=p, rho=0.2, exact=exact)
        before = [tensor.detach().clone() for tensor in tensors]
        closure = closure_of(optimizer, lambda tensors=tensors, scale=scale: scale * loss(tensors, 0))
        here, there = optimizer.evaluate([closure, closure], weights=[1, 3])
        assert there > here
        assert all(torch.equal(tensor, old) for tensor, old in zip(tensors, before, strict=True))
        found.append(torch.cat([tensor.grad.reshape(-1) / scale for tensor in tensors]))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batchnorm_sees_the_first_pass_alone(exact, momentum):
    model = network()
    model[1].momentum = momentum
    plain = copy.deepcopy(model)
    optimizer = make_optimizer("sam", model, rho=0.5, exact=exact, **{"base.lr": 1e-12})
    for step in range(3):
        value_of(plain, step)
        optimizer.step(closure_of(optimizer, lambda step=step: value_of(model, step)))
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, dict(plain.named_buffers())[name], rtol=1e-9, atol=0)
    assert int(model[1].num_batches_tracked) == 3


def test_groups_have_radii_of_their_own():
    a, b, c = (torch.full((2,), 1.0, dtype=torch.float64, requires_grad=True) for _ in range(3))
    groups = [{"params": [a], "sam_rho": 0.1}, {"params": [b]}, {"params": [c], "sam_rho": 0.0}]
    optimizer = make_optimizer("sam", groups, rho=0.5)
    for tensor, value in ((a, 3.0), (b, 4.0), (c, 100.0)):
        tensor.grad = torch.tensor([value, 0.0], dtype=torch.float64)
    optimizer.perturb()
    found = [tensor.detach().tolist() for tensor in (a, b, c)]
    np.testing.assert_allclose(found, [[1 + 0.1 * 0.6, 1], [1 + 0.5 * 0.8, 1], [1, 1]], rtol=1e-14)
    optimizer.restore()
    assert [tensor.tolist() for tensor in (a, b, c)] == [[1, 1]] * 3
    d = torch.ones(2, requires_grad=True)
    optimizer.add_param_group({"params": [d]})
    assert optimizer.param_groups is optimizer.base.param_groups
    assert [group["sam_rho"] for group in optimizer.param_groups] == [0.1, 0.5, 0.0, 0.5]
    assert optimizer.param_groups[-1]["lr"] == 0.1


def test_a_scheduler_drives_the_base():
    tensors = start()
    optimizer = make_optimizer("sam", tensors, **{"base.lr": 1.0})
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for step in range(3):
        assert optimizer.base.param_groups[0]["lr"] == 0.5**step
        optimizer.step(closure_of(optimizer, lambda: 1e-3 * loss(tensors, 0)))
        scheduler.step()


@pytest.mark.parametrize("base", ["momentum", "adamw", "shampoo"])
def test_a_saved_state_goes_on_to_the_same_bits(base, tmp_path):
    tensors = start()
    optimizer = make_optimizer("sam", tensors, base=base)

    def run(optimizer, tensors, steps):
        for step in steps:
            optimizer.step(closure_of(optimizer, lambda step=step: loss(tensors, step)))
        return [t.detach().clone() for t in tensors]

    middle = run(optimizer, tensors, range(3))
    torch.save(optimizer.state_dict(), tmp_path / "state")
    expected = run(optimizer, tensors, range(3, 6))
    others = [t.clone().requires_grad_() for t in middle]
    again = make_optimizer("sam", others, base=base, rho=0.3)
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert again.param_groups[0]["sam_rho"] == 0.05
    assert again.state is again.base.state
    assert all(torch.equal(a, b) for a, b in zip(run(again, others, range(3, 6)), expected, strict=True))
    copied = copy.deepcopy(again)
    assert copied.param_groups is copied.base.param_groups


def test_the_pattern_for_gradient_scalers_and_accumulation():
    """Scaled gradients, accumulated and without closures, end where closures end."""
    ends = []
    for scale in (1.0, 1024.0):
        model = network().float().eval()
        sam = make_optimizer("sam", model, base="momentum", rho=0.1)
        for step in range(3):
            for _ in range(2):
                sam.zero_grad()
                for half in range(2):
                    x, y = batch(2 * step + half)
                    (scale * nn.functional.cross_entropy(model(x.float()), y) / 2).backward()
                if _ == 0:
                    sam.perturb()
            sam.restore()
            for parameter in model.parameters():
                parameter.grad /= scale
            sam.step()
        ends.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-6)

    model = network().eval()
    sam = make_optimizer("sam", model, base="momentum", rho=0.1)
    for step in range(3):
        sam.step(closure_of(sam, lambda step=step: (value_of(model, 2 * step) + value_of(model, 2 * step + 1)) / 2))
    end = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).float()
    torch.testing.assert_close(ends[0], end, rtol=1e-3, atol=1e-4)


def test_a_gradient_scaler_that_leaves_out_a_step():
    model = network().float()
    sam = make_optimizer("sam", model, rho=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = [p.detach().clone() for p in model.parameters()]
    x, y = batch(0)
    for factor, moved in ((math.inf, False), (1.0, True)):
        for turn in range(2):
            sam.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                value = nn.functional.cross_entropy(model(x.float()), y)
            scaler.scale(factor * value).backward()
            (sam.perturb, sam.restore)[turn]()
        scaler.step(sam)
        scaler.update()
        same = [torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True)]
        assert all(same) != moved
    assert all(p.isfinite().all() for p in model.parameters())


def test_autocast_to_bfloat16():
    """Also with the whole step inside autocast, which keeps copies of the weights in bfloat16 between passes."""
    x, y = batch(0)
    ends = []
    for outer in (False, True):
        model = network().float()
        sam = make_optimizer("sam", model, rho=0.5, **{"base.lr": 0.1})
        seen = []

        def evaluate(model=model, seen=seen):
            with torch.autocast("cpu", torch.bfloat16):
                value = nn.functional.cross_entropy(model(x.float()), y)
            seen.append(value.item())
            return value

        for _ in range(3):
            with torch.autocast("cpu", torch.bfloat16, enabled=outer):
                sam.step(closure_of(sam, evaluate))
        assert seen[1] > seen[0]  # the worst point is worse
        assert seen[-2] < seen[0]
        ends.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    torch.testing.assert_close(*ends)


def test_a_closure_that_fails_leaves_the_weights():
    tensors = start()
    optimizer = make_optimizer("sam", tensors)
    before, calls = [t.detach().clone() for t in tensors], [0]

    def evaluate():
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return loss(tensors, 0)

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure_of(optimizer, evaluate))
    assert all(torch.equal(t, b) for t, b in zip(tensors, before, strict=True))


def test_gradients_that_are_not_finite_leave_the_weights():
    for factors in ((math.nan, math.nan), (1.0, math.inf), (math.inf, 1.0)):
        for non_finite in ("raise", "skip"):
            tensors = start()
            optimizer = make_optimizer("sam", tensors, non_finite=non_finite)
            before, turn = [t.detach().clone() for t in tensors], iter(factors)
            closure = closure_of(optimizer, lambda tensors=tensors, turn=turn: next(turn) * loss(tensors, 0))
            if non_finite == "raise":
                with pytest.raises(NonFiniteGradientError):
                    optimizer.step(closure)
            else:
                optimizer.step(closure)
            assert all(torch.equal(t, b) for t, b in zip(tensors, before, strict=True))


def test_parameters_without_gradient_stay():
    x, unused = (torch.ones(3, requires_grad=True) for _ in range(2))
    for exact in (False, True):
        optimizer = make_optimizer("sam", [x, unused], exact=exact)
        optimizer.step(closure_of(optimizer, lambda: x.square().sum()))
        assert unused.tolist() == [1, 1, 1]
        assert unused.grad is None


def test_a_gradient_of_zeros_moves_nothing():
    x = torch.zeros(3, requires_grad=True)
    for exact in (False, True):
        optimizer = make_optimizer("asam", [x], exact=exact)
        optimizer.step(closure_of(optimizer, lambda: x.square().sum()))
        assert x.tolist() == [0, 0, 0]


def test_around_a_method_of_the_full_batch():
    assert takes_full_batch("gd", {})
    assert takes_full_batch("sam", resolve_hyperparameters("sam", {"base": "gd"}))
    assert not takes_full_batch("sam", resolve_hyperparameters("sam", {}))


def test_bad_requests():
    model = nn.Linear(2, 2)
    for wrong, message in (
        ({"p": 0.5}, "at least 1"),
        ({"rho": -0.1}, "at least 0"),
        ({"base": "sgdd"}, "did you mean 'sgd'"),
        ({"base": "asam"}, "base of sam can't be asam"),
        ({"base.lr": 0}, "optimizer 'momentum': setting 'lr' must be more than 0"),
        ({"base.momentun": 0.9}, "did you mean 'momentum'"),
        ({"rh": 0.1}, "did you mean 'rho'"),
    ):
        with pytest.raises(RequestError, match=message):
            make_optimizer("sam", model, **wrong)
    with pytest.raises(RequestError, match="at least 0"):
        make_optimizer("asam", model, eta=-1)
