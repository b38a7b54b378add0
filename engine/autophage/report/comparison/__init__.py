"""Comparison of runs: settings that differ, differences of metrics, and equality by hashes.

The package reads run directories, finished or not and of any version. It writes a page of HTML; the command line prints
the same facts.
"""
