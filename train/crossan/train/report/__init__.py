"""``report.html``: a run, or a run beside its twin, on one page without a script or a network request."""
