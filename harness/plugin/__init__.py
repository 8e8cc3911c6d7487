"""pytest glue: options, fixtures and outcomes. Hooks translate; they never decide.

Switched on by ``pytest_plugins = ["harness.plugin"]`` in a project's root conftest. Nothing heavy is
imported until a candidate is asked for.
"""

pytest_plugins = [
    f"{__name__}.{part}"
    for part in (
        "options",
        "collection",
        "fixtures",
        "laddering",
        "outcomes",
        "stopping",
        "ending",
        "github",
        "workers",
    )
]
