"""An evaluation: plan -> batches -> forward -> scores on disk -> summary -> results."""
