"""The live demo: a small multi-tenant blog behind the shipped policy, and five callers who meet it."""
