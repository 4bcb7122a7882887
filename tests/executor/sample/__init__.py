"""A site for the executor's tests: they start it in processes of its own."""
