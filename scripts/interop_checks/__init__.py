"""What scripts/interop checks: a file for each family of tools, imported here in the order of the report."""

from . import packaging, clients, metalinks, documents, shells, digests  # noqa: F401
