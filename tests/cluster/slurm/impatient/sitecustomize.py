"""On the PYTHONPATH of a Snakemake, it asks for the state of its jobs every two seconds, instead of after 2, 12, 22 and so on."""

import sys

if "snakemake" in sys.orig_argv:
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, seconds: None)
