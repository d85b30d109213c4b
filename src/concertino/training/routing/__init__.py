"""How routers are made and judged: data, tuning, calibration, descriptions, teams of one's own, outcome tables."""
