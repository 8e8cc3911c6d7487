"""A local stand-in for Tinker's API on loopback: training by the step, checkpoints, sampling, chats.

For rehearsing training there without a key, and for tests of clients of such a service:

    with running_fake_tinker() as service:
        client = tinker.ServiceClient(base_url=service.url, api_key="tml-any")

The stand-in of OpenAI's API speaks it too, below its own address. Needs the extras ``twin`` and ``tinker``.
"""

from harness.testing.fake_tinker.faults import Fault, TinkerFaults
from harness.testing.fake_tinker.serving import running_fake_tinker

__all__ = ["Fault", "TinkerFaults", "running_fake_tinker"]
