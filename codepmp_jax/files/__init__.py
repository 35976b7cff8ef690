"""Files on a disk or in a bucket: paths, locks, journals, checksums, staging.

Enters: what knows no record and no stage.
"""
