"""How good the answers are, and for whom: errors, calibrated intervals, age gates, model cards."""
