"""The checks of scripts/interop: a file for each family of tools, imported in the order of the report."""

from . import packaging, clients, metalinks, documents, shells, digests  # noqa: F401
