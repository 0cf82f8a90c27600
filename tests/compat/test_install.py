"""install: the drop-in under torchdiffeq's name, each time in a process of its own."""

import subprocess
import sys

import pytest


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_programs_that_import_torchdiffeq_get_the_drop_in() -> None:
    done = run(
        "import odevision.compat, sys\n"
        "assert odevision.compat.install() is odevision.compat.torchdiffeq\n"
        "assert odevision.compat.install() is sys.modules['torchdiffeq']\n"
        "import torch, torchdiffeq\n"
        "from torchdiffeq import odeint_adjoint as odeint, odeint_event, odeint_dense\n"
        "assert odeint is odevision.compat.torchdiffeq.odeint_adjoint\n"
        "assert torchdiffeq.__version__ >= '0.2.5'\n"
        "class Decay(torch.nn.Linear):\n"
        "    def forward(self, t, y): return super().forward(y)\n"
        "odeint(Decay(2, 2), torch.ones(2), torch.tensor([0., 1.]), rtol=1e-3).sum().backward()\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_real_library_that_is_in_use_is_not_replaced() -> None:
    pytest.importorskip("torchdiffeq")
    done = run(
        "import torchdiffeq, odevision.compat\n"
        "try:\n"
        "    odevision.compat.install()\n"
        "except ImportError as error:\n"
        "    assert 'before' in str(error) and torchdiffeq.__file__ in str(error)\n"
        "    assert torchdiffeq.odeint.__module__.startswith('torchdiffeq')\n"
        "else:\n"
        "    raise SystemExit('no error')\n"
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_drop_in_registers_nothing_and_imports_no_scipy() -> None:
    done = run(
        "import sys, odevision.compat.torchdiffeq\n"
        "assert 'torchdiffeq' not in sys.modules and 'scipy' not in sys.modules\n"
    )
    assert done.returncode == 0, done.stderr
